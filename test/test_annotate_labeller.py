"""The labeller's side of the wire, against a real server that answers well, late, wrongly, too much."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from beingh_core.data.annotate.labeller import LARGEST_REPLY, HttpLabeller, Shown, key_of
from beingh_core.errors import BeingHError

KEY = "sk-very-secret-0123456789"
SEGMENTS = [
    Shown(start_s=0.0, end_s=1.0, text="reach", pictures=(b"\xff\xd8one",)),
    Shown(start_s=1.0, end_s=2.0, text="grasp"),
]


def reply(content):
    return json.dumps(
        {"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]}
    ).encode()


GOOD = json.dumps({"segments": [{"number": 1, "text": "go there"}, {"number": 2, "text": "take it"}], "success": True})


@contextmanager
def server(answer):
    """A server whose every POST is answered by `answer(handler)`; gives (url, the requests it got)."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, dict(self.headers), json.loads(body)))
            try:
                answer(self)
            except OSError:
                pass

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}", requests
    finally:
        running.shutdown()
        running.server_close()


def says(data, status=200, **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def labeller(url, **more):
    return HttpLabeller(**{"url": url, "model": "m", "timeout_s": 5.0, **more})


def test_a_good_answer(monkeypatch):
    with server(says(reply(GOOD))) as (url, requests):
        for address in (url, url + "/", url + "/v1", url + "/v1/chat/completions"):
            answer = labeller(address, key=KEY).ask("pick it up", SEGMENTS)
            assert answer.texts == {0: "go there", 1: "take it"} and answer.success is True
    assert [path for path, _, _ in requests] == ["/v1/chat/completions"] * 4
    _, headers, body = requests[0]
    assert headers["Authorization"] == f"Bearer {KEY}" and body["model"] == "m"
    parts = body["messages"][1]["content"]
    assert [part["image_url"]["url"] for part in parts if part["type"] == "image_url"] == [
        "data:image/jpeg;base64,/9hvbmU="
    ]
    assert "pick it up" in parts[0]["text"] and "the signals say: reach" in parts[1]["text"]


@pytest.mark.parametrize(
    "content",
    ["```json\n" + GOOD + "\n```", "Here it is: " + GOOD + " Good luck!"],
)
def test_models_like_to_wrap_what_they_say(content):
    with server(says(reply(content))) as (url, _):
        assert labeller(url).ask("", SEGMENTS).texts[1] == "take it"


def test_what_is_not_said_stays_open():
    with server(says(reply('{"segments": [{"number": 2, "text": "take it"}]}'))) as (url, _):
        answer = labeller(url).ask("", SEGMENTS)
        assert answer.texts == {1: "take it"} and answer.success is None


@pytest.mark.parametrize(
    "data, told",
    [
        (b"<html>busy</html>", "did not answer in JSON"),
        (b"", "did not answer in JSON"),
        (b"[1]", "is not allowed here"),
        (b"[" * 100_000, "did not answer in JSON"),
        (b'{"choices": []}', "without a choice"),
        (b'{"choices": [{"message": {"content": null}}]}', "content"),
        (b'{"error": "no"}', "`choices` is missing"),
        (reply("I cannot help with that."), "did not answer with a JSON object"),
        (reply('{"segments": [{"number": 3, "text": "x"}]}'), "for the segments [3]"),
        (reply('{"segments": [{"number": 1, "text": "  "}]}'), "each with a text"),
        (reply('{"segments": [{"number": 1, "text": "a\\nb"}]}'), "printable text"),
        (reply('{"segments": [{"number": 1, "text": "' + 400 * "x" + '"}]}'), "at most 300"),
        (reply('{"segments": [{"number": "1", "text": "x"}]}'), "segments.0.number"),
        (reply('{"segments": [], "success": "yes"}'), "success"),
        (reply("{" * 5000), "did not answer with a JSON object"),
        (b" " * (LARGEST_REPLY + 1), f"more than {LARGEST_REPLY} bytes"),
        (b"\xff\xfe\xfd", "did not answer in JSON"),
    ],
)
def test_a_wrong_answer_is_one_line_that_names_the_labeller(data, told):
    with server(says(data)) as (url, _):
        with pytest.raises(BeingHError) as caught:
            labeller(url, key=KEY).ask("", SEGMENTS)
    text = str(caught.value)
    assert told in text and "labeller 127.0.0.1:" in text and "\n" not in text and len(text) < 800 and KEY not in text


def test_an_answer_without_end_is_cut_off():
    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b" " * 65536)

    with server(answer) as (url, _), pytest.raises(BeingHError, match="more than"):
        labeller(url).ask("", SEGMENTS)


@pytest.mark.parametrize("drip", [False, True])
def test_a_late_answer_is_not_waited_for(drip):
    """Also where every single byte comes in time."""

    def answer(handler):
        if drip:
            handler.send_response(200)
            handler.end_headers()
        for _ in range(40):
            time.sleep(0.1)
            if drip:
                handler.wfile.write(b" ")
                handler.wfile.flush()

    with server(answer) as (url, _):
        begun = time.monotonic()
        with pytest.raises(BeingHError, match="no answer within 0.4 s"):
            labeller(url, timeout_s=0.4).ask("", SEGMENTS)
        assert time.monotonic() - begun < 2.0


def test_a_refusal_is_told_without_the_key():
    with server(says(f"Incorrect API key provided: {KEY}".encode(), 401)) as (url, _):
        with pytest.raises(BeingHError, match=r"status 401: Incorrect API key provided: \*\*\*") as caught:
            labeller(url, key=KEY).ask("", SEGMENTS)
    assert KEY not in str(caught.value) and KEY not in repr(labeller(url, key=KEY))


def test_a_redirection_is_not_followed():
    with server(says(reply(GOOD))) as (elsewhere, got):
        with server(says(b"", 307, Location=elsewhere + "/v1/chat/completions")) as (url, _):
            with pytest.raises(BeingHError, match="status 307"):
                labeller(url, key=KEY).ask("", SEGMENTS)
    assert got == []


def test_nobody_there():
    with server(says(b"")) as (url, _):
        pass
    with pytest.raises(BeingHError, match="cannot be reached"):
        labeller(url).ask("", SEGMENTS)


@pytest.mark.parametrize(
    "given, told",
    [
        ({"url": "127.0.0.1:8000"}, "--labeller-url"),
        ({"url": "file:///etc/passwd"}, "--labeller-url"),
        ({"url": "http://user:word@host/v1"}, "not in the URL"),
        ({"url": "http://host/v1?key=1"}, "not in the URL"),
        ({"url": "http://10.0.0.1:8000", "key": KEY}, "readable on the network"),
        ({"model": ""}, "--labeller-model"),
        ({"timeout_s": 0.0}, "--labeller-timeout"),
        ({"timeout_s": float("nan")}, "--labeller-timeout"),
    ],
)
def test_settings_that_cannot_work(given, told):
    with pytest.raises(BeingHError) as caught:
        HttpLabeller(**{"url": "http://127.0.0.1:1", "model": "m", **given})
    assert told in str(caught.value) and KEY not in str(caught.value)
    HttpLabeller(url="http://10.0.0.1:8000", model="m")
    HttpLabeller(url="https://10.0.0.1:8000", model="m", key=KEY)


def test_where_the_key_comes_from(tmp_path, monkeypatch):
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    monkeypatch.setenv("MY_KEY", KEY)
    assert key_of() == "" and key_of("MY_KEY") == KEY and key_of("", file) == KEY
    for variable, path, told in (
        ("NO_SUCH_KEY", None, "NO_SUCH_KEY"), ("MY_KEY", file, "two places"), ("", tmp_path / "absent", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(BeingHError, match=told):
            key_of(variable, path)
    file.write_text("two\nlines")
    with pytest.raises(BeingHError, match="no key") as caught:
        key_of("", file)
    assert "lines" not in str(caught.value).replace("several lines", "")
