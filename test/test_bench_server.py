"""`beingh bench server` against a real server process."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("msgpack")
from remote_support import make_checkpoint

from beingh_core.cli import main

pytestmark = pytest.mark.nodes


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def test_it_reports_what_the_server_adds_to_the_model(checkpoint, tmp_path, capfd):
    target = tmp_path / "report.json"
    words = [
        "bench",
        "server",
        "--checkpoint",
        str(checkpoint),
        "--repeats",
        "5",
        "--size",
        "56",
        "--json",
        str(target),
    ]
    assert main(words) == 0
    report = json.loads(target.read_text())
    assert report["views"] == 2 and report["size"] == 56
    for kind in ("raw", "jpeg"):
        times = report[kind]
        for name in ("overhead_ms", "round_trip_ms", "policy_ms", "pack_ms", "unpack_ms", "waited_ms"):
            assert 0 < times[name]["p50"] <= times[name]["p95"], name
        parts = sum(times[name]["p50"] for name in ("pack_ms", "unpack_ms", "waited_ms"))
        assert parts < times["overhead_ms"]["p95"] < times["round_trip_ms"]["p95"]
    assert report["raw"]["request_bytes"] > 2 * 56 * 56 * 3 > report["jpeg"]["request_bytes"]
    assert "overhead p50" in capfd.readouterr().out


@pytest.mark.parametrize(
    "words, told",
    [
        (["--repeats", "0"], "--repeats"),
        (["--jpeg-quality", "0"], "1 to 100"),
        (["--json", "/nowhere/x"], "cannot write"),
    ],
)
def test_mistakes_are_told_before_anything_is_started(checkpoint, capsys, words, told):
    assert main(["bench", "server", "--checkpoint", str(checkpoint), *words]) == 2
    assert told in capsys.readouterr().err


def test_a_server_that_does_not_start_is_told(tmp_path, capfd):
    assert main(["bench", "server", "--checkpoint", str(tmp_path)]) == 2
    err = capfd.readouterr().err
    assert "the server did not start" in err and "config.json" in err
