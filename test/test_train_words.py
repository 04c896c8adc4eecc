"""Files of conversations: what a line may be, what its pictures may be, and that every bad one is left out by name."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image
from train_support import prompts_for
from words_support import line_of, photo, write_words

from beingh_core.errors import BeingHError
from beingh_core.train import image_files
from beingh_core.train.conversations import parse
from beingh_core.train.image_files import read_square
from beingh_core.train.lines import scan_lines

GOOD = {
    "image": "a.png",
    "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cube."}],
}


def changed(**keys):
    return json.dumps({**GOOD, **keys}).encode()


def said(*turns):
    return [{"from": who, "value": text} for who, text in turns]


def test_both_usual_forms_are_read():
    one = parse(changed())
    assert one.turns == (("<image>\nWhat?", "A cube."),) and one.pictures == ("a.png",) and one.system == ""
    other = parse(
        json.dumps({"images": ["a.png"], "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "<image>\nWhat?"},
            {"role": "assistant", "content": "A cube."},
        ]}).encode()
    )  # fmt: skip
    assert (other.turns, other.pictures, other.system) == (one.turns, one.pictures, "Be brief.")
    assert parse(b"\xef\xbb\xbf" + changed()) == one
    without = parse(changed(image=None, conversations=said(("human", "Why?"), ("gpt", "So."))))
    assert (
        without.pictures == ()
        and parse(changed(image="", conversations=said(("human", "q"), ("gpt", "a")))).pictures == ()
    )


@pytest.mark.parametrize(
    ("line", "why"),
    (
        (b"{", "no JSON"),
        (b"\xff\xfe{}", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JSON object"),
        (b'{"image": "a", "image": "b", "conversations": []}', "a key is written twice"),
        (b" " * (1 << 20) + b"{}", "longer than"),
        (changed(conversations=[]), "user and assistant in turn"),
        (changed(conversations=said(("gpt", "a"), ("human", "<image>"))), "user and assistant in turn"),
        (changed(conversations=said(("human", "<image>"))), "user and assistant in turn"),
        (changed(conversations=said(("human", "<image>"), ("gpt", "a"), ("system", "x"), ("gpt", "b"))), "in turn"),
        (changed(conversations=said(("human", "<image>"), ("gpt", " \n"))), "an answer is empty"),
        (changed(conversations=said(("human", " "), ("gpt", "a"))), "a question is empty"),
        (changed(conversations=said(("human", "<image>"), ("gpt", 7))), "a turn has no text"),
        (changed(conversations="hello"), "no list of turns"),
        (changed(messages=[]), "two conversations"),
        (b'{"image": "a.png"}', "neither `conversations` nor `messages`"),
        (changed(conversations=said(("human", "<image><image>"), ("gpt", "a"))), "other places"),
        (changed(image=["a.png", "b.png"]), "other places"),
        (changed(image=None), "other places"),
        (changed(conversations=said(("human", "q"), ("gpt", "<image>"))), "an answer has the place of a picture"),
        (changed(image=7), "neither a path nor a list"),
        (changed(image="/etc/a.png"), "leads out of the folder"),
        (changed(image="../a.png"), "leads out of the folder"),
        (changed(images=["b.png"]), "both `image` and `images`"),
        (changed(video="a.mp4"), "a video"),
        (b'{"image": "", "conversations": [{"from": "human", "value": "\\ud800"}, {"from": "gpt", "value": "a"}]}', "no text"),
    ),
)  # fmt: skip
def test_a_bad_line_has_one_reason(line, why):
    with pytest.raises(BeingHError, match=why):
        parse(line)


def corners(path, size=8):
    """Mean colours of the four corners of a square picture."""
    image = read_square(path, size).astype(int)
    assert image.shape == (size, size, 3)
    return [tuple(image[y, x]) for y in (0, -1) for x in (0, -1)]


def test_pictures_of_all_modes_have_their_colours(tmp_path):
    grey = (120, 120, 120)
    full = {"RGB": (200, 30, 60), "L": 120, "1": 1, "CMYK": (0, 255, 255, 0), "P": None, "I;16": None}
    seen = {
        "RGB": (200, 30, 60),
        "L": grey,
        "1": (255, 255, 255),
        "CMYK": (255, 0, 0),
        "P": (200, 30, 60),
        "I;16": grey,
    }
    for mode, colour in full.items():
        path = tmp_path / f"{mode.replace(';', '')}.{'tif' if mode == 'CMYK' else 'png'}"
        if mode == "I;16":
            Image.fromarray(np.full((9, 12), 120 * 257, np.uint16)).save(path)
        elif mode == "P":
            Image.new("RGB", (12, 9), (200, 30, 60)).quantize(4).save(path)
        else:
            Image.new(mode, (12, 9), colour).save(path)
        assert np.abs(np.array(corners(path)) - seen[mode]).max() <= 1, mode
    for mode, colour, shown in (("RGBA", (200, 30, 60, 0), (255,) * 3), ("LA", (0, 128), (127,) * 3)):
        Image.new(mode, (12, 9), colour).save(tmp_path / "clear.png")
        assert np.abs(np.array(corners(tmp_path / "clear.png")) - shown).max() <= 1, mode


def test_a_picture_is_shown_upright_and_whole(tmp_path):
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:20, :40], pixels[20:, 40:] = (
        (250, 0, 0),
        (0, 250, 0),
    )  # red where the top left is, green at the bottom right
    upright = Image.fromarray(pixels)
    for orientation, turned in ((1, upright), (3, upright.rotate(180)), (6, upright.rotate(90, expand=True))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned.save(tmp_path / "turned.png", exif=exif)
        top_left, top_right, _, bottom_right = corners(tmp_path / "turned.png")
        assert top_left[0] > 240 and bottom_right[1] > 240 and max(top_right) < 10, orientation


def test_large_pictures_are_made_small_and_beyond_a_bound_left_out(tmp_path, monkeypatch):
    Image.new("RGB", (3000, 2000), (10, 200, 90)).save(tmp_path / "large.jpg", quality=30)
    assert np.abs(np.array(corners(tmp_path / "large.jpg", 32)) - (10, 200, 90)).max() <= 6
    Image.new("RGB", (3, 900), (10, 200, 90)).save(tmp_path / "strip.png")
    assert corners(tmp_path / "strip.png")[0] == (10, 200, 90)
    for bound, largest in ((5_000_000, Image.MAX_IMAGE_PIXELS), (10_000_000, 1_000_000)):  # ours, and the library's own
        monkeypatch.setattr(image_files, "MOST_PIXELS", bound)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", largest)
        with pytest.raises(BeingHError, match="more than .* pixels"):
            read_square(tmp_path / "large.jpg", 8)


def test_what_is_no_picture_is_told(tmp_path):
    data = photo(tmp_path / "good.png", 1, size=(300, 300)).read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("hello")
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "float.tif")
    for name, why in (("cut.png", "cannot be read"), ("text.png", "cannot be read"), ("none.png", "not there")):
        with pytest.raises(BeingHError, match=f"its picture (is )?{why}"):
            read_square(tmp_path / name, 8)
    with pytest.raises(BeingHError, match="floating-point"):
        read_square(tmp_path / "float.tif", 8)


def test_lines_are_found_by_their_place_and_bad_ones_counted(tmp_path):
    path = write_words(tmp_path / "w", 6)
    good = path.read_bytes().splitlines()
    beyond = b'{"x": "' + b"a" * (3 << 20) + b'"}'
    lines = [good[0], b"", b"no json", good[1], beyond, good[2].replace(b"2_0", b"gone"), b"  ", good[3], b"{", good[4]]
    path.write_bytes(b"\n".join(lines))  # no newline at the end
    table = scan_lines(path, path.parent, tmp_path / "cache")
    assert table.count == 4 and table.numbers.tolist() == [1, 4, 8, 10]
    assert table.bad == {
        "the line is no JSON": (2, 3), "the line is longer than 1048576 bytes": (1, 5), "its picture is not there": (1, 6),
    }  # fmt: skip
    with open(path, "rb") as file:
        for row in (3, 0, 2, 1):
            assert table.read(file, row) == parse(lines[table.numbers[row] - 1])
    assert len(pickle.dumps(table)) < 2000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(table)).offsets, table.offsets)
    stamp = (table.folder / "offsets.npy").stat().st_mtime_ns
    assert (scan_lines(path, path.parent, tmp_path / "cache").folder / "offsets.npy").stat().st_mtime_ns == stamp
    photo(path.parent / "photos/gone.png", 3)  # has come since
    assert scan_lines(path, path.parent, tmp_path / "cache").count == 5
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_a_file_without_a_usable_line_and_a_folder_that_is_not_there_are_told(tmp_path):
    path = tmp_path / "words.jsonl"
    path.write_text("nothing\n")
    with pytest.raises(BeingHError, match="no conversation that can be taught .*no JSON: 1 lines"):
        scan_lines(path, tmp_path, tmp_path / "cache")
    with pytest.raises(BeingHError, match="is no folder.*`images`"):
        scan_lines(path, tmp_path / "photos", tmp_path / "cache")
    with pytest.raises(BeingHError, match="one conversation a line"):
        scan_lines(tmp_path / "other.jsonl", tmp_path, tmp_path / "cache")


def test_the_layout_is_the_template_and_labels_are_the_answers(tmp_path):
    """Against token lists that are put together by hand."""
    prompts = prompts_for()
    encode = lambda text: prompts.tokenizer.encode(text, add_special_tokens=False).ids
    start, end, newline = (prompts.tokenizer.token_to_id("<|im_start|>"), prompts.special["im_end"], encode("\n"))
    view = [prompts.special["img_start"], *[-1] * 4, prompts.special["img_end"]]
    system = prompts.config.system_message
    for turns, pictures, told in (
        ((("What?", "A cube."),), 0, ""),
        ((("<image>\nWhat?", "A cube."), ("And <image> here?", "Two."), ("Why?", "So.")), 2, "Be brief."),
        ((("What?", "Cubes."), ("Where?", "There.")), 3, ""),
    ):
        expected = [start, *encode("system\n" + (told or system)), end, *newline]
        answers = []
        for number, (question, answer) in enumerate(turns):
            expected += newline if number else []
            expected += [start, *encode("user\n")]
            if number == 0 and pictures == 3:
                expected += [view[0], *[-1] * 12, view[-1]]
            for k, part in enumerate(question.split("<image>")):
                expected += (view if k else []) + encode(part)
            expected += [end, *newline, start, *encode("assistant\n")]
            answers += range(len(expected), len(expected) + len(encode(answer)) + 1)
            expected += [*encode(answer), end]
        prompt = prompts.conversation(turns, pictures, told)
        tokens = np.full(prompt.length, -1)
        tokens[prompt.text_positions] = prompt.text_ids
        assert tokens.tolist() == expected
        assert (prompt.label_positions + 1).tolist() == answers and prompt.label_ids.tolist() == [
            expected[p] for p in answers
        ]
        assert prompt.vit_positions.tolist() == [place for place, token in enumerate(expected) if token == -1]
        assert len(prompt.state_positions) == len(prompt.action_positions) == 0
    with pytest.raises(BeingHError, match="control token `<img>`"):
        prompts.conversation((("an <img> here", "a"),))
    with pytest.raises(BeingHError, match="1 places `<image>` for 2 pictures"):
        prompts.conversation((("<image>", "a"),), 2)
    with pytest.raises(BeingHError, match="1 questions and 0 pictures make"):
        prompts.conversation((("word " * 9000, "a"),))


def test_lengths_are_counted_once_and_lines_without_a_prompt_are_told(tmp_path):
    path, prompts = write_words(tmp_path / "w", 5), prompts_for()
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace("It is", "It <IMG_CONTEXT> is")
    lines[3] = lines[3].replace("It is", "It <|im_end|> is")
    lines[4] = lines[4].replace("It is", "It is " + "x" * 9000)
    path.write_text("\n".join(lines))
    table = scan_lines(path, path.parent, tmp_path / "cache")
    lengths, bad = table.lengths(prompts)
    assert bad == {"a text has a control token of the model": (2, 2), "it has more than 8192 tokens": (1, 5)}
    for row in (0, 2):
        one = parse(lines[row].encode())
        assert lengths[row] == prompts.conversation(one.turns, len(one.pictures)).length
    assert lengths[[1, 3, 4]].tolist() == [0, 0, 0]
    [file] = table.folder.glob("tokens-*.npy")
    stamp = file.stat().st_mtime_ns
    assert table.lengths(prompts)[1] == bad and file.stat().st_mtime_ns == stamp


def test_the_support_writes_what_it_says(tmp_path):
    path = write_words(tmp_path / "w", 3)
    first, second, third = (parse(line) for line in path.read_bytes().splitlines())
    assert [len(one.pictures) for one in (first, second, third)] == [0, 1, 2] and len(second.turns) == 2
    assert json.loads(path.read_text().splitlines()[1]) == line_of(1, 1, 2)
