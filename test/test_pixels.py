"""Pictures of every encoding against pixels that were laid out byte by byte, colour formulas and known flat colours."""

import io
import zlib

import numpy as np
import pytest
from fuzz_support import failures
from PIL import Image as Picture

from beingh_core.contract import load_contract
from beingh_core.contract.encodings import IMAGE_ENCODINGS, RAW, is_same
from beingh_core.data.pixels import compressed_pixels, raw_pixels
from beingh_core.errors import BeingHError

FR3 = load_contract("fr3")
COLOUR = (200, 100, 40)
YUV = [name for name, kind in RAW.items() if kind.layout[:2] in ("uy", "yu", "nv")]
BAYER = [name for name in RAW if name.startswith("bayer")]
PACKED = {  # (bytes a value, how a pixel of values 1, 2, 3 stands in a row)
    "rgb8": (1, (1, 2, 3)),
    "bgr8": (1, (3, 2, 1)),
    "8UC3": (1, (3, 2, 1)),
    "rgba8": (1, (1, 2, 3, 77)),
    "bgra8": (1, (3, 2, 1, 77)),
    "8UC4": (1, (3, 2, 1, 77)),
    "rgb16": (2, (1, 2, 3)),
    "bgr16": (2, (3, 2, 1)),
    "rgba16": (2, (1, 2, 3, 77)),
    "bgra16": (2, (3, 2, 1, 77)),
}
GREY = {"mono8": 1, "8UC1": 1, "mono16": 2, "16UC1": 2}


def to_yuv(rgb_HWC):
    """BT.601 with brightness 16..235, as ITU-R BT.601 gives it; float (..., 3)."""
    r, g, b = np.moveaxis(np.asarray(rgb_HWC, float) / 255, -1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.stack([16 + 219 * y, 128 + 224 * (b - y) / 1.772, 128 + 224 * (r - y) / 1.402], axis=-1)


def rows_of(encoding, rgb_HWC):
    """The rows of bytes of a picture whose neighbours share their colour, without padding, and the step of the first."""
    layout, bits = RAW[encoding].layout, RAW[encoding].bits
    height, width = rgb_HWC.shape[:2]
    if layout.startswith("bayer"):
        letters = layout[-4:]
        mosaic = np.empty((height, width), int)
        for at, letter in enumerate(letters):
            mosaic[at // 2 :: 2, at % 2 :: 2] = rgb_HWC[at // 2 :: 2, at % 2 :: 2, "rgb".index(letter)]
        return [row.tobytes() for row in ((mosaic * 257).astype("<u2") if bits == 16 else mosaic.astype(np.uint8))]
    y, u, v = np.moveaxis(np.rint(to_yuv(rgb_HWC)).astype(np.uint8), -1, 0)
    if layout in ("uyvy", "yuyv"):
        order = [u[:, ::2], y[:, ::2], v[:, ::2], y[:, 1::2]]
        if layout == "yuyv":
            order = [order[1], order[0], order[3], order[2]]
        return [row.tobytes() for row in np.stack(order, axis=-1).reshape(height, 2 * width)]
    every = 1 if layout == "nv24" else 2
    pair = (v, u) if layout == "nv21" else (u, v)
    colours = np.stack([plane[::every, ::every] for plane in pair], axis=-1)
    return [row.tobytes() for row in [*y, *colours.reshape(len(colours), -1)]]


def read(encoding, rows, width, height, pad=0, **options):
    """The pixels of rows, each padded (NV24's rows of colours are two steps long)."""
    data = b"".join(row + b"\xee" * (pad * len(row) // len(rows[0])) for row in rows)
    return raw_pixels(data, height=height, width=width, step=len(rows[0]) + pad, encoding=encoding, **options)


def blocks(height=8, width=12):
    """Blocks of 2 x 2 equal pixels, so that colours shared by neighbours lose nothing."""
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(30, 220, (height // 2, width // 2, 3)), np.ones((2, 2, 1), int)).astype(np.uint8)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("pad", [0, 1, 6])
def test_channels_stand_where_the_name_says(name, pad, big_endian):
    size, order = PACKED[name]
    bytes_of = {1: lambda v: bytes([v]), 2: lambda v: (v * 257).to_bytes(2, "big" if big_endian else "little")}[size]
    rows = [b"".join(bytes_of(v + 10 * x) for x in range(3) for v in order) for _ in range(2)]
    pixels = read(name, rows, 3, 2, pad, big_endian=big_endian)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous and pixels.flags.writeable
    np.testing.assert_array_equal(pixels, [[[1 + 10 * x, 2 + 10 * x, 3 + 10 * x] for x in range(3)]] * 2)


@pytest.mark.parametrize("name", GREY)
def test_grey_is_repeated(name):
    rows = [np.array([7, 250], f"<u{GREY[name]}").tobytes()]
    scale = 1 if GREY[name] == 1 else 257
    np.testing.assert_array_equal(read(name, rows, 2, 1, 3), [[[round(7 / scale)] * 3, [round(250 / scale)] * 3]])


def test_sixteen_bits_become_eight_over_the_full_range():
    values = np.arange(1 << 16)
    pixels = read("mono16", [values.astype(">u2").tobytes()], 1 << 16, 1, big_endian=True)
    np.testing.assert_array_equal(pixels[0, :, 0], np.rint(values * (255 / 65535)).astype(np.uint8))


@pytest.mark.parametrize("name", YUV)
@pytest.mark.parametrize("pad", [0, 4, 5])
def test_yuv_gives_the_colours_it_was_made_of(name, pad):
    picture = blocks()
    pixels = read(name, rows_of(name, picture), 12, 8, pad)
    assert np.abs(pixels.astype(int) - picture).max() <= 3


@pytest.mark.parametrize(
    "yuv, rgb", [((81, 90, 240), (255, 0, 0)), ((145, 54, 34), (0, 255, 0)), ((41, 240, 110), (0, 0, 255))]
)
def test_yuv_of_known_colours(yuv, rgb):
    y, u, v = yuv
    for name, rows in {
        "uyvy": [bytes([u, y, v, y])],
        "yuyv": [bytes([y, u, y, v])],
        "nv12": [bytes([y, y])] * 2 + [bytes([u, v])],
        "nv21": [bytes([y, y])] * 2 + [bytes([v, u])],
        "nv24": [bytes([y, y]), bytes([u, v, u, v])],
    }.items():
        pixels = read(name, rows, 2, 2 if name in ("nv12", "nv21") else 1)
        assert np.abs(pixels.astype(int) - rgb).max() <= 2, name


@pytest.mark.parametrize("name", BAYER)
@pytest.mark.parametrize("size", [(2, 2), (2, 4), (3, 3), (5, 4), (6, 6)])
def test_a_mosaic_of_one_colour_is_that_colour(name, size):
    flat = np.full((*size, 3), COLOUR, np.uint8)
    np.testing.assert_array_equal(read(name, rows_of(name, flat), size[1], size[0], 2), flat)


def test_a_mosaic_of_a_ramp_keeps_its_middle():
    ramp = np.stack([np.add.outer(np.arange(8), np.arange(8)) * k + 20 for k in (2, 8, 12)], axis=-1)
    for name in BAYER:
        inner = read(name, rows_of(name, ramp), 8, 8)[2:-2, 2:-2]
        np.testing.assert_allclose(inner, ramp[2:-2, 2:-2], atol=1)


def test_the_same_pixels_as_cv_bridge():
    cv_bridge = pytest.importorskip("cv_bridge", reason="cv_bridge is part of a ROS installation only")
    from sensor_msgs.msg import Image

    rng, bridge = np.random.default_rng(1), cv_bridge.CvBridge()
    compared = []
    for name, kind in RAW.items():
        step = 16 * kind.channels * kind.bits // 8
        data = rng.integers(0, 256, 12 * step, dtype=np.uint8).tobytes()
        try:
            message = Image(height=12, width=16, step=step, encoding=name, data=data)
            expected = bridge.imgmsg_to_cv2(message, "rgb8")
        except cv_bridge.CvBridgeError:  # it knows fewer names, and no colour of 8UC3
            continue
        pixels = raw_pixels(data + bytes(400), height=12, width=16, step=step, encoding=name)
        np.testing.assert_array_equal(pixels, expected, err_msg=name)
        compared.append(name)
    assert {"bgr8", "rgba8", "mono8", "mono16", "yuv422", "yuv422_yuy2", "bayer_rggb8", "bayer_gbrg16"} <= set(compared)


@pytest.mark.parametrize("name", sorted(RAW))
def test_sizes_that_do_not_fit_are_one_clear_error(name):
    kind = RAW[name]
    rows = (
        rows_of(name, blocks())
        if name in (*YUV, *BAYER)
        else [bytes(12 * kind.channels * kind.bits // 8) for _ in range(8)]
    )
    data, step = b"".join(rows), len(rows[0])
    good = {"data": data, "height": 8, "width": 12, "step": step}
    assert raw_pixels(**good, encoding=name).shape == (8, 12, 3)
    raw_pixels(**good | {"data": data + b"more"}, encoding=name)
    for change in (
        {"data": data[:-1]},
        {"data": b""},
        {"step": step - 1},
        {"step": 0},
        {"step": 2**32 - 1},
        {"height": 0},
        {"width": 0},
        {"height": 2**32 - 2},
        {"width": 2**32 - 2},
        {"height": 31_622, "width": 31_622, "step": 31_622 * 4},
    ):
        with pytest.raises(BeingHError, match=f"{name} has a row step of"):
            raw_pixels(**good | change, encoding=name)


@pytest.mark.parametrize("name", [*YUV, *BAYER])
def test_sizes_that_the_encoding_cannot_have(name):
    layout = RAW[name].layout
    sizes = {"nv24": [], "uyvy": [(3, 4)], "yuyv": [(3, 4)]}.get(layout, [(3, 4), (4, 3), (3, 3)])
    for width, height in sizes if not layout.startswith("bayer") else [(1, 4), (4, 1)]:
        with pytest.raises(BeingHError, match=f"{width}x{height} cannot be {name}"):
            raw_pixels(bytes(200), height=height, width=width, step=8, encoding=name)


@pytest.mark.parametrize(
    "name", ["32FC1", "16UC3", "8UC2", "16SC1", "argb8", "RGB8", "h264", "", "rgb8\n", "x" * 10_000]
)
def test_other_encodings_get_no_advice_that_the_contract_refuses(name):
    with pytest.raises(BeingHError) as caught:
        raw_pixels(bytes(100), height=2, width=2, step=8, encoding=name, promised="rgb8")
    assert "name the published one" not in str(caught.value)
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


def test_only_the_promised_encoding_is_taken_and_grey_is_told():
    for promised in RAW:
        for sent in RAW:
            message = {"data": bytes(400), "height": 4, "width": 4, "step": 32, "encoding": sent, "promised": promised}
            if is_same(sent, promised):
                raw_pixels(**message)
                continue
            with pytest.raises(BeingHError, match=f"image encoding is '{sent}'") as caught:
                raw_pixels(**message)
            assert ("grey where the robot contract promises colour" in caught.value.what) == (
                RAW[promised].colour and not RAW[sent].colour
            )
    assert is_same("yuyv", "yuv422_yuy2") and is_same("yuv422", "uyvy") and not is_same("uyvy", "yuyv")


def test_the_contract_names_what_the_converter_reads(tmp_path):
    text = FR3.path.read_text().replace("urdf/fr3.urdf", str(FR3.urdf_path))
    for kind, names in IMAGE_ENCODINGS.items():
        for name in names:
            path = tmp_path / f"{name}.yaml"
            path.write_text(
                text.replace("type: sensor_msgs/msg/Image, encoding: rgb8", f"type: {kind}, encoding: {name}", 1)
            )
            assert load_contract(path).cameras[0].encoding == name
    path.write_text(text.replace("encoding: rgb8", "encoding: rgb9", 1))
    with pytest.raises(BeingHError, match="cameras.scene_view.encoding.*bayer_grbg16.*did you mean"):
        load_contract(path)


def compressed(pixels, kind, **options):
    stream = io.BytesIO()
    Picture.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


FLAT = np.full((24, 32, 3), COLOUR, np.uint8)
JPEG, PNG = compressed(FLAT, "JPEG", quality=95), compressed(FLAT, "PNG")
GREY_JPEG, GREY_PNG = compressed(FLAT[..., 0], "JPEG"), compressed(FLAT[..., 0], "PNG")


@pytest.mark.parametrize(
    "text, data, promised",
    [
        ("jpeg", JPEG, "jpeg"),
        ("jpg", JPEG, "jpeg"),
        ("JPEG", JPEG, "jpeg"),
        ("", JPEG, "jpeg"),
        ("rgb8; jpeg compressed bgr8", JPEG, "jpeg"),
        ("rgb8; jpeg compressed ", JPEG, "jpeg"),
        ("yuv422_yuy2; jpeg compressed bgr8", JPEG, "jpeg"),
        ("png", PNG, "png"),
        ("bgr8; png compressed bgr8", PNG, "png"),
        ("bgr8; png compressed ", PNG, "png"),
        ("rgba8; png compressed bgr8", compressed(np.dstack([FLAT, FLAT[..., :1]]), "PNG"), "png"),
    ],
)
def test_colour_in_the_files_of_image_transport_and_drivers(text, data, promised):
    for wanted in (promised, None):
        pixels = compressed_pixels(data, text=text, promised=wanted)
        assert pixels.shape == FLAT.shape and np.abs(pixels.astype(int) - FLAT).max() <= (
            2 if promised == "jpeg" else 0
        )
    grey = f"{promised}_mono8"
    with pytest.raises(BeingHError, match=f"'{promised}', colour where the robot contract promises grey"):
        compressed_pixels(data, text=text, promised=grey)


@pytest.mark.parametrize(
    "text, data", [("mono8; jpeg compressed mono8", GREY_JPEG), ("mono8; png compressed ", GREY_PNG), ("", GREY_JPEG)]
)
def test_grey_files_where_colour_was_promised(text, data):
    promised = "png" if data is GREY_PNG else "jpeg"
    with pytest.raises(BeingHError, match=f"'{promised}_mono8', grey where the robot contract promises colour"):
        compressed_pixels(data, text=text, promised=promised)
    pixels = compressed_pixels(data, text=text, promised=f"{promised}_mono8")
    assert pixels.shape == FLAT.shape and np.abs(pixels.astype(int) - COLOUR[0]).max() <= 1


def test_a_compressed_mosaic_is_a_colour_picture():
    rows = rows_of("bayer_grbg8", FLAT)
    data = compressed(np.frombuffer(b"".join(rows), np.uint8).reshape(24, 32), "PNG")
    np.testing.assert_array_equal(compressed_pixels(data, text="bayer_grbg8; png compressed ", promised="png"), FLAT)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"dpi": (9, 9)}, {"comment": b"\xff\xda" * 9}])
def test_jpegs_of_cameras_are_read(options):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    data = compressed(pixels, "JPEG", quality=95, **options)
    plain = compressed_pixels(data, text="jpeg", promised="jpeg")
    assert plain.shape == (48, 64, 3)
    for same in (
        data + b"\0" * 1000,  # padded to the size of a buffer
        data[:2] + b"\xff\xff" + data[2:],  # fill bytes
        data[:2] + b"\xff\xe5\x00\x11padding-of-them" * 40 + data[2:],
    ):
        np.testing.assert_array_equal(compressed_pixels(same, text="jpeg", promised="jpeg"), plain)


def png_of(width, height):
    """A PNG of few bytes that declares any size."""
    data = bytearray(compressed(np.zeros((1, 1, 3), np.uint8), "PNG"))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize(
    "text, data, promised, words",
    [
        ("16UC1; compressedDepth png", b"\0" * 12 + GREY_PNG, "png", "a depth image"),
        ("32FC1; compressedDepth", PNG, None, "a depth image"),
        ("16UC1; compressedDepth rvl", PNG, "png", "a depth image"),
        ("mono16; png compressed ", compressed(np.zeros((4, 4), np.uint16), "PNG"), "png", "16 bits"),
        ("rgb8; tiff compressed ", PNG, "png", "tiff.*Allowed: png"),
        ("h264", JPEG, None, "h264.*Allowed: jpeg, png"),
        ("png", PNG, "jpeg", "'png'.*Allowed: jpeg"),
        ("jpeg", PNG, "jpeg", "is a png in truth"),
        ("", PNG, "jpeg", "is a png in truth"),
        ("jpeg", b"", "jpeg", "with 0 bytes is not an 8-bit"),
        ("jpeg", b"\xff\xd8\xff", "jpeg", "not an 8-bit JPEG"),
        ("jpeg", JPEG[:2] + b"\xff\xfe\x00\x02" * 65 + JPEG[2:], "jpeg", "a JPEG of more than 64 segments"),
        ("", JPEG[:2] + b"\xff\xe1\x00\x02" * 500_000 + JPEG[2:], None, "a JPEG of more than 64 segments"),
        ("jpeg", JPEG[:-2] + b"\xff\xdb\x00\x02" * 100_000 + JPEG[-2:], "jpeg", "a JPEG of more than 64 segments"),
        ("jpeg", JPEG[:-2] + b"\xff\xda\x00\x02" * 20 + JPEG[-2:], "jpeg", "a JPEG of more than 16 scans"),
        ("jpeg", JPEG[: len(JPEG) // 2], "jpeg", "not an 8-bit JPEG"),
        ("png", PNG[: len(PNG) // 2], "png", "not an 8-bit JPEG"),
        ("png", png_of(60_000, 60_000), "png", "decompression bomb"),
        ("png", png_of(8000, 8000), "png", "8000x8000"),
        ("png", png_of(8000, 100), "png", "8000x100"),
    ],
)
def test_other_files_are_refused_in_words(text, data, promised, words):
    with pytest.raises(BeingHError, match=words) as caught:
        compressed_pixels(data, text=text, promised=promised)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


def test_random_messages_end_in_a_picture_or_in_words():
    rng = np.random.default_rng(5)
    sizes = (0, 1, 2, 3, 4, 7, 48, 1000, 2**31, 2**32 - 1)
    names = [*RAW, "32FC1", "", "jpeg"]

    def raw():
        return {
            "data": bytes(int(rng.choice([0, 1, 100, 5000, 100_000]))),
            "height": int(rng.choice(sizes)),
            "width": int(rng.choice(sizes)),
            "step": int(rng.choice([*sizes, 192])),
            "encoding": names[rng.integers(len(names))],
            "big_endian": bool(rng.integers(2)),
        }

    def damaged_file():
        data = bytearray((JPEG, PNG, GREY_JPEG, GREY_PNG)[rng.integers(4)])
        for at in rng.integers(0, len(data), rng.integers(1, 8)):
            data[at] = rng.integers(256)
        return {"data": bytes(data), "text": ("jpeg", "png", "", "bayer_rggb8; png compressed ")[rng.integers(4)]}

    assert failures(lambda message: raw_pixels(**message), [raw() for _ in range(2000)]) == []
    assert failures(lambda message: compressed_pixels(**message), [damaged_file() for _ in range(1000)]) == []
