"""The dialect of the released evaluation clients: their messages are answered, hostile ones are refused unexecuted."""

import io
import os
import pickle
import signal
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

torch = pytest.importorskip("torch")
zmq = pytest.importorskip("zmq")
pytest.importorskip("msgpack")

from remote_support import ROOT, SET_A, TOKEN, Served, start_server

from beingh_core.policy.loading import load_for_data_config
from beingh_core.policy.remote import torch_bytes
from beingh_core.policy.remote.protocol import MAX_MESSAGE_BYTES, ProtocolError

LIBERO = {"dataset_name": "uni_posttrain", "embodiment_tag": "libero", "threads": 1}
BENCHMARK = ("--data-config", "libero_nonorm", "--dataset-name", "uni_posttrain", "--embodiment", "libero")


def saved(value, **options):
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


class Client:
    """What an evaluation script does: a REQ socket, `torch.save` there and a plain `torch.load` back."""

    def __init__(self, url, token=None):
        self.token = token
        self.socket = zmq.Context.instance().socket(zmq.REQ)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, 20_000)
        self.socket.connect(url)

    def send(self, message):
        self.socket.send(message)
        return torch.load(io.BytesIO(self.socket.recv()))

    def call(self, endpoint, data=None):
        request = {"endpoint": endpoint, "data": data}
        return self.send(saved(request | ({"api_token": self.token} if self.token else {})))


@pytest.fixture(scope="module")
def libero():
    return load_for_data_config("libero_nonorm", SET_A, **LIBERO)


@pytest.fixture
def golden():
    with np.load(SET_A / "policy_cases.npz") as cases:
        return {name.split(".obs.")[1]: cases[name] for name in cases if name.startswith("libero.obs.")}


def test_the_command_serves_the_released_clients_with_the_local_policys_numbers(golden):
    local = load_for_data_config("libero_nonorm", SET_A, seed=3, robots=4, **LIBERO)
    expected = local.get_action(golden)
    process, url = start_server(SET_A, 0, "--compat", "--seed", "3", served=BENCHMARK)
    try:
        client = Client(url)
        assert client.call("ping")["status"] == "ok"
        output = client.call("get_action", golden)
        assert output.keys() == expected.keys() and {"action.eef_position", "action.gripper_position"} <= output.keys()
        for name, value in expected.items():
            assert type(output[name]) is list and type(output[name][0][0][0]) is float
            np.testing.assert_array_equal(np.array(output[name], np.float32), value, err_msg=name)
        modalities = client.call("get_modality_config")
        assert modalities["video"] == {"delta_indices": [0], "modality_keys": ["video.top_view", "video.wrist_view"]}
        assert modalities["action"]["delta_indices"] == list(range(16))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_what_clients_may_send_instead(libero, golden):
    with Served(libero, compat=True) as served:
        client = Client(served.url)
        words = golden.pop("language.instruction")
        for instruction in (words, list(words), str(words[0])):
            assert "action.eef_position" in client.call("get_action", golden | {"language.instruction": instruction})
        annotated = golden | {"annotation.human.action.task_description": list(words), "extra": 1.5}
        assert "action.eef_position" in client.call("get_action", annotated)
        two = annotated | {"annotation.human.validity": ["valid"]}
        assert "lacks `language.instruction`" in client.call("get_action", two)["error"]
        one_batch = {name: value[0] if name.startswith("video.") else value for name, value in annotated.items()}
        assert "action.eef_position" in client.call("get_action", one_batch)


def test_mistakes_are_told_in_the_clients_encoding(libero, golden):
    with Served(libero, compat=True) as served:
        client = Client(served.url)
        for endpoint, data, words in (
            ("get_actions", {}, "Allowed: get_action, get_modality_config, ping"),
            ("kill", {}, "clients cannot end this server"),
            (None, {}, "`endpoint` is None"),
            ("get_action", None, "`data` must be the observation"),
            ("get_action", {}, "lacks `video.top_view`"),
            ("get_action", golden | {"video.top_view": np.zeros((1, 4000, 1, 3), np.uint8)}, "4000"),
            ("get_action", golden | {"state.eef_position": np.zeros((1, 7))}, "eef_position"),
            ("get_action", golden | {"state.eef_position": torch.zeros(1, 3)}, "only numpy's arrays"),
        ):
            assert words in client.call(endpoint, data)["error"]
        assert "action.eef_position" in client.call("get_action", golden)


def test_a_token_is_asked_of_every_endpoint(libero, golden):
    with Served(libero, compat=True, token=TOKEN) as served:
        for token in (None, "x", TOKEN + "x", 3):
            for endpoint in ("ping", "get_action", "get_modality_config"):
                assert "missing or wrong" in Client(served.url, token).call(endpoint, golden)["error"]
        assert served.server.counts.served == 0
        assert "action.eef_position" in Client(served.url, TOKEN).call("get_action", golden)


def test_everything_that_plain_data_and_arrays_need_is_read():
    rng = np.random.default_rng(0)
    value = {
        "texts": ["a", "grün", "", "\U0001f916"],
        "numbers": [0, -1, 2**40, 1.5, True, None, float("inf")],
        "nested": {"a": {"b": [1]}},
        "tuple": (1, 2),
        "scalar": np.float32(1.5),
        "words": np.array(["one", "three"]),
        "fortran": np.asfortranarray(rng.normal(size=(3, 4))),
        "sliced": rng.normal(size=(4, 6))[::2, 1:4],
        "no_dimensions": np.array(3),
    }
    value |= {f"of {code}": rng.integers(0, 2, (2, 3)).astype(code) for code in torch_bytes.DTYPES}
    read = torch_bytes.read(saved(value))
    assert read.keys() == value.keys()
    assert read["tuple"] == [1, 2] and read["scalar"] == 1.5
    for name in ("texts", "numbers", "nested"):
        assert read[name] == value[name]
    for name, array in value.items():
        if isinstance(array, np.ndarray):
            assert read[name].dtype == array.dtype and read[name].flags.owndata, name
            np.testing.assert_array_equal(read[name], array)


# --- hostile messages ------------------------------------------------------------------------------------------------


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def archived(pickle_bytes, compression=zipfile.ZIP_STORED, **records):
    """An archive as torch.save makes one, around any pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in {"data.pkl": pickle_bytes, "byteorder": b"little", "version": b"3\n", **records}.items():
            archive.writestr(f"archive/{name}", content)
    return stream.getvalue()


def two_pickles(pickle_bytes):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for folder in ("archive", "other"):
            archive.writestr(f"{folder}/data.pkl", pickle_bytes)
    return stream.getvalue()


def program(*steps):
    """A pickle of protocol 2 written by hand."""
    return b"\x80\x02" + b"".join(steps) + b"."


def text(words):
    return b"X" + struct.pack("<I", len(words)) + words


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


ARRAY = name("numpy.core.multiarray", "_reconstruct")
NDARRAY, DTYPE, ENCODE = name("numpy", "ndarray"), name("numpy", "dtype"), name("_codecs", "encode")
STORED = text(b"x" * 5_000_000) + b"q\x00"  # a text that can be named again
FIVE_MB = STORED + b"0"
BYTES_OF_IT = ENCODE + b"h\x00" + text(b"latin1") + b"\x86R"


def array_of(shape, data, code=b"u1"):
    """Instructions that build an array with this shape from these bytes."""
    made = ARRAY + NDARRAY + b"K\x00\x85" + text(b"b") + b"\x87R"
    dtype = DTYPE + text(code) + b"\x89\x88\x87R"
    return made + b"(K\x01" + shape + dtype + b"\x89" + data + b"tb"


HOSTILE = {
    "os.system": lambda target: saved({"data": Calls(os.system, f"touch {target}")}),
    "eval": lambda target: saved({"data": Calls(eval, f"open({str(target)!r}, 'w')")}),
    "exec": lambda target: saved({"data": Calls(exec, f"open({str(target)!r}, 'w')")}),
    "open": lambda target: saved({"data": Calls(open, str(target), "w")}),
    "getattr": lambda target: saved({"data": Calls(getattr, str, "format")}),
    "subprocess": lambda target: saved({"data": Calls(subprocess.Popen, ["touch", str(target)])}),
    "as a key": lambda target: saved({Calls(os.system, f"touch {target}"): 1}),
    "plain pickle": lambda target: pickle.dumps(Calls(os.system, f"touch {target}")),
    "old torch.save": lambda target: saved(
        {"data": Calls(os.system, f"touch {target}")}, _use_new_zipfile_serialization=False
    ),
    "newer pickle": lambda target: saved({"data": Calls(os.system, f"touch {target}")}, pickle_protocol=4),
    "name from the stack": lambda target: archived(
        b"\x80\x04" + text(b"posix") + text(b"system") + b"\x93" + text(f"touch {target}".encode()) + b"\x85R."
    ),
    "name of the first pickles": lambda target: archived(b"(S'touch " + str(target).encode() + b"'\nios\nsystem\n."),
    "extension": lambda target: archived(program(b"\x82\x01")),
    "our own names": lambda target: archived(program(name("beingh", "encode"), text(b"a"), text(b"latin1"), b"\x86R")),
    "a name of torch": lambda target: archived(program(name("torch.storage", "UntypedStorage"), b"K\x01\x85R")),
    "numpy.load": lambda target: archived(program(name("numpy", "load"), text(b"/etc/passwd"), b"\x85R")),
    "codec": lambda target: archived(program(ENCODE, text(b"a" * 1000), text(b"idna"), b"\x86R")),
    "tensor": lambda target: saved({"data": torch.zeros(3)}),
    "ordered": lambda target: saved(OrderedDict(endpoint="ping")),
    "object array": lambda target: saved({"data": np.array([Calls(os.system, f"touch {target}")])}),
    "huge bytearray": lambda target: archived(program(name("__builtin__", "bytearray"), b"J\x00\x00\x00\x7f\x85R")),
    "huge array": lambda target: archived(program(ARRAY, NDARRAY, b"J\x00\x00\x00\x7f\x85", text(b"b"), b"\x87R0}")),
    "array of too few bytes": lambda target: archived(
        program(text(b"xxxx"), b"q\x000", array_of(b"J\x00\x00\x00\x7f\x85", BYTES_OF_IT))
    ),
    "array of negative size": lambda target: archived(
        program(text(b"xxxx"), b"q\x000", array_of(b"J\xff\xff\xff\xffJ\xfc\xff\xff\xff\x86", BYTES_OF_IT))
    ),
    "array of objects": lambda target: archived(program(array_of(b"K\x01\x85", b"]K\x01a", b"O8"))),
    "array of records": lambda target: archived(program(array_of(b"K\x01\x85", BYTES_OF_IT, b"V1"))),
    "one text as many arrays": lambda target: archived(program(FIVE_MB, b"]" + (BYTES_OF_IT + b"a") * 400)),
    "a tensor larger than its record": lambda target: archived(
        program(
            name("torch._utils", "_rebuild_tensor_v2"),
            b"((" + text(b"storage") + name("torch", "FloatStorage") + text(b"0") + text(b"cpu"),
            b"J\x00\x00\x00\x10tQK\x00J\x00\x00\x00\x10\x85K\x01\x85\x89"
            + name("collections", "OrderedDict")
            + b")RtR",
        ),
        **{"data/0": b"1234"},
    ),
    "million lists": lambda target: archived(program(b"]" * 1_000_000)),
    "million nested tuples": lambda target: archived(program(b")" + b"\x85" * 1_000_000)),
    "nested as deep as allowed": lambda target: archived(program(b")" + b"\x85" * 4_900)),
    "deep key": lambda target: archived(program(b"})" + b"\x85" * 4_900 + b"K\x01s")),
    "list in itself": lambda target: archived(program(b"}" + text(b"a") + b"]q\x00h\x00as")),
    "doubling": lambda target: archived(program(b"]q\x00" + b"]h\x00ah\x00aq\x00" * 100)),
    "one list in thousands of places": lambda target: archived(
        program(
            b"}" + text(b"a") + b"](](](",
            b"K\x01" * 1200 + b"eq\x01",
            b"h\x01" * 1200 + b"eq\x02",
            b"h\x02" * 1200 + b"es",
        )
    ),
    "one text in thousands of places": lambda target: archived(
        program(b"}" + text(b"a") + b"](" + STORED + b"h\x00" * 4000 + b"es")
    ),
    "the same bytes as many arrays": lambda target: archived(
        program(
            b"}(" + text(b"a") + STORED + text(b"b") + b"](" + array_of(b"J@KL\x00\x85", BYTES_OF_IT + b"q\x01"),
            array_of(b"J@KL\x00\x85", b"h\x01") * 200 + b"eu",
        )
    ),
    "texts of numbers that are no characters": lambda target: archived(
        program(
            b"}" + text(b"a"),
            array_of(b"K\x01\x85", ENCODE + text(b"\x7f" * 4) + text(b"latin1") + b"\x86R", b"U1") + b"s",
        )
    ),
    "half a character": lambda target: archived(program(b"}" + text(b"a") + text(b"\xed\xa0\x80") + b"s")),
    "an integer of 2,000 bits": lambda target: saved({"data": 2**2000}),
    "too many levels": lambda target: saved({"a": {"b": {"c": {"d": {"e": 1}}}}}),
    "nothing": lambda target: b"",
    "no archive": lambda target: b"PK\x03\x04" + bytes(100),
    "zip bomb": lambda target: archived(program(text(bytes(50_000_000))), zipfile.ZIP_DEFLATED),
    "bomb beside the data": lambda target: archived(
        program(b"}"), zipfile.ZIP_DEFLATED, **{"data/0": bytes(50_000_000)}
    ),
    "many records": lambda target: archived(program(b"}"), **{f"data/{i}": b"" for i in range(10_000)}),
    "two pickles": lambda target: two_pickles(program(b"}")),
    "too long": lambda target: saved({"data": np.zeros(MAX_MESSAGE_BYTES, np.uint8)}),
    "no dictionary": lambda target: saved(["endpoint"]),
    "no end": lambda target: archived(b"\x80\x02}"),
    "stack underflow": lambda target: archived(program(b"b")),
    "unknown memo": lambda target: archived(program(b"h\x07")),
    "wrong text length": lambda target: archived(b"\x80\x02X\xff\xff\xff\xffabc."),
    "unhashable key": lambda target: archived(program(b"}]K\x01s")),
    "state for a function": lambda target: archived(program(ENCODE, b"}", text(b"x"), b"K\x01sb")),
    "state for a dict": lambda target: archived(program(b"}", text(b"x"), b"b")),
    "arguments that are none": lambda target: archived(program(ENCODE, b"K\x01R")),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_bytes_are_refused_unexecuted(case, tmp_path):
    target = tmp_path / "executed"
    message = HOSTILE[case](target)
    with pytest.raises(ProtocolError):
        torch_bytes.read(message)
    assert not target.exists()


def test_the_hostile_cases_are_dangerous_to_an_open_reader(tmp_path):
    """Otherwise the test above shows nothing."""
    for case in ("os.system", "eval", "exec", "open", "as a key"):
        target = tmp_path / case.replace(" ", "_")
        try:
            torch.load(io.BytesIO(HOSTILE[case](target)), weights_only=False)
        except TypeError:  # an open file is no key
            pass
        assert target.exists(), case


def test_hostile_bytes_cost_little_memory_and_leave_the_server_alive(tmp_path):
    code = f"""
import resource, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "test")!r}]
from pathlib import Path
from test_remote_compat import HOSTILE
from beingh_core.policy.remote import torch_bytes
messages = [make(Path({str(tmp_path / "executed")!r})) for make in HOSTILE.values()]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
for message in messages:
    try:
        torch_bytes.read(message)
    except torch_bytes.ProtocolError:
        continue
    raise AssertionError
print(peak() - before)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not (tmp_path / "executed").exists()
    assert float(out.splitlines()[-1]) < 300
