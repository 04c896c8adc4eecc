"""Files from outside: what is no complete JSON object of bounded size and depth is one error that says so."""

import json
import os
import time

import pytest

from beingh_core.errors import BeingHError
from beingh_core.files import JSON_BYTES, JSON_DEPTH, check_file, read_json
from beingh_core.validation import Schema, check, whole

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4873910272\n"


def refused(path):
    with pytest.raises(BeingHError) as caught:
        read_json(path)
    message = str(caught.value)
    assert str(path).split("\x00")[0] in message and "To fix: " in message and len(message) < 500
    return message


@pytest.mark.parametrize(
    ("content", "said"),
    (
        (b"", "empty"),
        (POINTER, "git lfs pull"),
        (b"{", "not valid JSON"),
        (b'{"a": 1} {"b": 2}', "not valid JSON"),
        (b"\x00" * 100, "not valid JSON"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b"[1, 2]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is written twice"),
        (b"[" * (JSON_DEPTH + 2) + b"]" * (JSON_DEPTH + 2), "nested"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested"),
    ),
)
def test_what_is_no_json_object(tmp_path, content, said):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    assert said in refused(path)


def test_a_byte_order_mark_and_unknown_keys_are_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"ä": [1, 2.5, None, True]}).encode())
    assert read_json(path) == {"ä": [1, 2.5, None, True]}


def test_what_is_no_file(tmp_path):
    assert "No such file" in refused(tmp_path / "config.json")
    assert "a directory" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "pipe" in refused(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "symbolic links" in refused(tmp_path / "loop")
    assert "null byte" in refused(tmp_path / "a\x00b")


def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{}")
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.chmod(tmp_path, 0o755)
        os.seteuid(65534)
    try:
        assert "may not read" in refused(path)
    finally:
        os.seteuid(user)


def test_a_huge_file_is_refused_by_its_size(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{")
    os.truncate(path, 1 << 40)
    start = time.process_time()
    assert f"at most {JSON_BYTES} bytes" in refused(path)
    with pytest.raises(BeingHError, match="at most 100 bytes"):
        check_file(path, largest=100)
    assert time.process_time() - start < 1


def test_long_numbers_are_refused_by_their_key(tmp_path):
    class Size(Schema):
        steps: whole(1, 10)

    path = tmp_path / "config.json"
    for number in ("1" + "0" * 4999, "-" + "9" * 20_000, "1e999", "NaN", "3" * 101):
        path.write_text(f'{{"steps": {number}, "other": {number}}}')
        with pytest.raises(BeingHError, match="steps: .* is not allowed here. Allowed: a whole number from 1 to 10"):
            check(Size, read_json(path), where=path)
