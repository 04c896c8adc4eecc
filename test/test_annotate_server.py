"""The page's server against other users, other sites and odd requests."""

import http.client
import json
import socket
import threading

import pytest

pytest.importorskip("rosbags")
from annotate_support import CONTRACT, write_bag

from beingh_core.data.annotate import labels as files
from beingh_core.data.annotate.server import LARGEST_BODY, TOKEN, PageServer, is_own_host
from beingh_core.data.annotate.workbench import Workbench
from beingh_core.data.bag_files import open_bag
from beingh_core.errors import BeingHError


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(server, folder of its bag)."""
    folder = tmp_path_factory.mktemp("bags")
    bench = Workbench([write_bag(folder / "pick")], CONTRACT, open_bag)
    bench.propose("pick")
    server = PageServer(bench)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server, folder
    server.shutdown()
    server.server_close()
    bench.close()


def ask(server, path, method="GET", body=None, token=True, **headers):
    """(status, headers, body) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    given = {TOKEN: server.token} if token is True else {TOKEN: token} if token else {}
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, data, {**given, **{k.replace("_", "-"): v for k, v in headers.items()}})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, response.headers, content


def labels_of(server):
    status, _, content = ask(server, "/api/episode?name=pick")
    assert status == 200
    return json.loads(content)


def test_the_page_and_what_it_asks_for(served):
    server, _ = served
    status, headers, page = ask(server, server.url.split("/", 3)[3].join(["/", ""]), token=None)
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    policy = headers["Content-Security-Policy"]
    nonce = policy.split("script-src 'nonce-")[1].split("'")[0]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "{{" not in page.decode()
    assert page.decode().count(f'nonce="{nonce}"') == 2
    assert nonce not in ask(server, f"/?token={server.token}", token=None)[1]["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer" and headers["Cache-Control"] == "no-store"
    assert b"http://" not in page and b"https://" not in page, "something is loaded from elsewhere"
    told = labels_of(server)
    assert told["labels"]["segments"][1]["text"] == "reach for the red cube" and len(told["mark"]) == 64
    assert {c["name"]: list(c["lines"]) for c in told["curves"]}["gripper"] == ["right"]
    assert [(view["name"], len(view["times_s"])) for view in told["views"]] == [("scene_view", 70), ("wrist_view", 70)]
    status, headers, jpeg = ask(
        server, f"/api/picture?name=pick&view=scene_view&index=3&token={server.token}", token=None
    )
    assert status == 200 and headers["Content-Type"] == "image/jpeg" and jpeg[:2] == b"\xff\xd8"
    listed = json.loads(ask(server, "/api/episodes")[2])["episodes"]
    assert listed == [{"name": "pick", "segments": 6, "accepted": 0, "open": 6, "error": ""}]


@pytest.mark.parametrize(
    "path", ["/", "/api/episodes", "/api/episode?name=pick", "/api/picture?name=pick&view=scene_view&index=0"]
)
@pytest.mark.parametrize("token", [None, "", "wrong", "é"])
def test_without_the_token_there_is_nothing(served, path, token):
    server, _ = served
    status, _, content = ask(server, path, token=token and token.encode())
    assert status == 403 and set(json.loads(content)) == {"error"} and server.token.encode() not in content


def test_a_name_of_another_site_that_points_here_gets_nothing(served):
    server, _ = served
    for host in ("evil.example", "evil.example:80", "localhost.evil.example", "", "127.0.0.1.evil.example"):
        assert ask(server, "/api/episodes", Host=host)[0] == 403, host
    for host in ("localhost:9000", "127.0.0.1", "[::1]:8000", "192.168.1.7:8000"):
        assert ask(server, "/api/episodes", Host=host)[0] == 200 and is_own_host(host), host


def test_another_site_can_change_nothing(served):
    server, folder = served
    told, before = labels_of(server), (folder / "pick.labels.yaml").read_bytes()
    body = {"labels": told["labels"], "mark": told["mark"]}
    path = "/api/labels?name=pick"
    assert ask(server, f"{path}&token={server.token}", "POST", body, token=None)[0] == 403  # as a form could send it
    assert ask(server, path, "POST", body, Origin="http://evil.example")[0] == 403
    assert ask(server, path, "POST", body, Origin="null")[0] == 403
    assert ask(server, path, "OPTIONS")[0] == 501 and ask(server, path, "PUT", body)[0] == 501
    assert (folder / "pick.labels.yaml").read_bytes() == before
    port = server.server_address[1]
    assert ask(server, path, "POST", body, Origin=f"http://127.0.0.1:{port}")[0] == 200


def test_a_save_with_an_old_mark_is_refused_and_told(served):
    server, folder = served
    told = labels_of(server)
    mine = told["labels"] | {"task": "mine"}
    status, _, content = ask(server, "/api/labels?name=pick", "POST", {"labels": mine, "mark": told["mark"]})
    mark = json.loads(content)["mark"]
    assert status == 200 and mark == json.loads(ask(server, "/api/mark?name=pick")[2])["mark"]
    theirs = told["labels"] | {"task": "theirs"}
    status, _, content = ask(server, "/api/labels?name=pick", "POST", {"labels": theirs, "mark": told["mark"]})
    assert status == 409 and json.loads(content)["mark"] == mark
    assert files.load(folder / "pick.labels.yaml").task == "mine"


@pytest.mark.parametrize(
    "path, method, body, status, told",
    [
        ("/api/labels?name=pick", "POST", b"{", 400, "no JSON"),
        ("/api/labels?name=pick", "POST", b"[" * 100_000, 400, "no JSON"),
        ("/api/labels?name=pick", "POST", [], 400, "no labels"),
        ("/api/labels?name=pick", "POST", {"labels": {}, "mark": 3}, 400, "no labels"),
        ("/api/labels?name=pick", "POST", {"labels": {}, "mark": ""}, 422, "version None"),
        ("/api/labels?name=pick", "POST", {"labels": None, "mark": ""}, 422, "mapping of keys"),
        ("/api/labels?name=nobody", "POST", {"labels": {}, "mark": ""}, 422, "version"),
        ("/api/labels?name=pick", "POST", b"x" * (LARGEST_BODY + 1), 413, "at most"),
        ("/api/episode?name=../../etc/passwd", "GET", None, 422, "no bag"),
        ("/api/episode", "GET", None, 422, "no bag"),
        ("/api/picture?name=pick&view=scene_view&index=-1", "GET", None, 400, "number"),
        ("/api/picture?name=pick&view=scene_view&index=70", "GET", None, 422, "0 to 69"),
        ("/api/picture?name=pick&view=x&index=1", "GET", None, 422, "no view"),
        ("/api/nothing", "GET", None, 404, "nothing here"),
        ("/../server.py", "GET", None, 404, "nothing here"),
        ("/?" + "&".join(f"a{n}=1" for n in range(50)), "GET", None, 400, "no such request"),
    ],
)
def test_odd_requests_are_answered_with_a_line(served, path, method, body, status, told):
    server, _ = served
    found, _, content = ask(server, path, method, body)
    assert found == status and told in json.loads(content)["error"]
    assert "Traceback" not in content.decode()


def test_lengths_that_are_none(served):
    server, _ = served
    for length in (b"-1", b"1e3", b"99999999999999", b"", "²".encode()):
        with socket.create_connection(server.server_address[:2], timeout=10) as raw:
            head = (
                f"POST /api/labels?name=pick HTTP/1.1\r\nHost: localhost\r\n{TOKEN}: {server.token}\r\nContent-Length: "
            )
            raw.sendall(head.encode() + length + b"\r\n\r\n")
            assert raw.recv(65536).split(b" ")[1] in (b"411", b"413"), length


def test_a_request_that_never_ends_holds_up_nobody(served):
    server, _ = served
    with socket.create_connection(server.server_address[:2]) as raw:
        raw.sendall(b"GET /api/episodes HTTP/1.1\r\nHost: ")
        assert ask(server, "/api/episodes")[0] == 200


def test_too_many_connections_are_closed_and_the_next_are_served(served):
    server, _ = served
    many = [socket.create_connection(server.server_address[:2]) for _ in range(80)]
    many[-1].settimeout(5)
    assert many[-1].recv(1) == b""
    for one in many:
        one.close()
    for _ in range(100):
        try:
            assert ask(server, "/api/episodes")[0] == 200
            break
        except (ConnectionError, http.client.HTTPException):
            continue
    else:
        pytest.fail("nobody is served any more")


def test_a_port_that_is_taken_is_one_error(served):
    server, _ = served
    for host, port in (
        ("127.0.0.1", server.server_address[1]),
        ("127.0.0.1", 70_000),
        ("no.such.host.invalid", 0),
        ("", 0),
    ):
        with pytest.raises(BeingHError, match="cannot listen at"):
            PageServer(server.bench, host, port)


def test_a_broken_file_is_told_and_not_written_over(served):
    server, folder = served
    path = folder / "pick.labels.yaml"
    told, before = labels_of(server), path.read_bytes()
    try:
        path.write_text("segments: [")
        broken = labels_of(server)
        assert broken["labels"] is None and "not YAML" in broken["error"]
        body = {"labels": told["labels"], "mark": told["mark"]}
        assert ask(server, "/api/labels?name=pick", "POST", body)[0] == 409 and path.read_text() == "segments: ["
        assert ask(server, "/api/labels?name=pick", "POST", body | {"keep_both": True})[0] == 200
        assert (folder / "pick.labels.replaced-1.yaml").read_text() == "segments: ["
    finally:
        path.write_bytes(before)
