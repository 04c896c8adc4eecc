"""`beingh doctor` as a command: exit codes, the page, JSON, and inputs that are hostile or of others."""

import io
import json
import re

import numpy as np
import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap")
from bag_support import STORE
from doctor_support import EVENTS, KINDS, SCENE, STATES, WRIST, recording, serialised, write
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as TheirWriter

from beingh_core.cli import main
from beingh_core.data.bags import BagWriter


def doctor(tmp_path, *words, out="page.html"):
    """(exit code, the page, what --json holds)."""
    code = main(["doctor", *map(str, words), "--out", str(tmp_path / out), "--json", str(tmp_path / "found.json")])
    page, found = tmp_path / out, tmp_path / "found.json"
    return code, page.read_text("utf-8"), json.loads(found.read_text("utf-8"))


def test_exit_codes_table_page_and_json(tmp_path, capsys):
    write(tmp_path / "bags/one", recording())
    code, page, found = doctor(tmp_path, tmp_path / "bags/one")
    assert code == 0 and (found["good"], found["usable"], found["bad"]) == (1, 0, 0)
    assert "1 good, 0 usable, 0 bad" in capsys.readouterr().out
    [episode] = found["episodes"]
    assert episode["findings"] == []
    assert episode["in_charge"] == {"policy": pytest.approx(0.75, abs=0.01), "person": pytest.approx(0.25, abs=0.01)}
    rates = {stream["name"]: stream["rate_hz"] for stream in episode["streams"]}
    assert rates[STATES] == pytest.approx(50) and rates[SCENE] == pytest.approx(10)
    write(tmp_path / "bags/two", [told for told in recording() if told.topic != WRIST])
    code, page, found = doctor(tmp_path, tmp_path / "bags")
    assert code == 1 and [e["verdict"] for e in found["episodes"]] == ["good", "bad"]
    [finding] = found["episodes"][1]["findings"]
    assert (finding["kind"], finding["weight"], finding["topic"]) == ("missing", "fault", WRIST)
    told = capsys.readouterr().out
    assert re.search(r"two +bad +4\.0 +1\n +/wrist_camera/color/image_raw: is not in the bag", told)
    (tmp_path / "bags/three.mcap").write_text("hello")
    code, page, found = doctor(tmp_path, tmp_path / "bags")
    assert code == 2 and [e["readable"] for e in found["episodes"]] == [False, True, True]
    assert "is no MCAP file" in page


def test_the_page_holds_everything_and_is_escaped(tmp_path):
    messages = recording()
    for told in messages:
        if told.topic == EVENTS and told.content.get("event") == "mark":
            told.content["name"] = "<script>alert(1)</script>"
        if told.topic == EVENTS:
            told.content |= {"operator": '"><img src=x>'} if "operator" in told.content else {}
    write(tmp_path / "a<b>&'\"", messages)
    code, page, _ = doctor(tmp_path, tmp_path / "a<b>&'\"")
    assert code == 0 and "<script" not in page and "<img src=x" not in page and "<i>it</i>" not in page
    assert "&lt;script&gt;alert(1)" in page and "put &lt;i&gt;it&lt;/i&gt; there" in page and "a&lt;b&gt;&amp;" in page
    links = re.findall(r"""<[^<>]*(?:src|href)=["']?([^"'> ]*)""", page)
    assert all(link.startswith(("data:image/jpeg;base64,", "#e0")) for link in links) and "url(" not in page
    assert page.count("data:image/jpeg") == 2 * 8 and page.count("<figure class=chart>") == 8 and len(page) < 200_000
    assert page.count("class=limit") and "fr3_joint4" in page and "gripper closes" in page


def test_the_page_shows_those_first_that_are_not_good(tmp_path):
    for number in range(4):
        write(tmp_path / f"bags/{number}", [t for t in recording(1.5) if t.topic != WRIST or number != 2])
    code, page, found = doctor(tmp_path, tmp_path / "bags", "--details", "2")
    assert code == 1 and len(found["episodes"]) == 4
    assert "id=e0" in page and "id=e2" in page and "id=e1" not in page and "2 more episodes" in page
    code, page, _ = doctor(tmp_path, tmp_path / "bags", "--details", "0")
    assert "id=e" not in page and 'href="#e' not in page


@pytest.mark.parametrize("kind", ["rosbags", "mcap-ros2"])
def test_bags_of_others(tmp_path, kind):
    """Without any contract and any event, under names of their own."""
    messages = [told for told in recording() if told.topic in (SCENE, WRIST, STATES)]
    names = {SCENE: "/cam0/image", WRIST: "/cam1/image", STATES: "/arm/joint_states"}
    if kind == "rosbags":
        with TheirWriter(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            channels = {t: writer.add_connection(names[t], KINDS[t], typestore=STORE) for t in names}
            for told in messages:
                writer.write(channels[told.topic], told.log_ns, serialised(told))
    else:
        ros2 = pytest.importorskip("mcap_ros2.writer")
        with open(tmp_path / "bag", "wb") as file:
            writer = ros2.Writer(file)
            schemas = {
                t: writer.register_msgdef(KINDS[t], STORE.generate_msgdef(KINDS[t], ros_version=2)[0]) for t in names
            }
            for told in messages:
                values = STORE.deserialize_cdr(serialised(told), KINDS[told.topic])
                writer.write_message(names[told.topic], schemas[told.topic], plain(values), told.log_ns, told.log_ns)
            writer.finish()
        (tmp_path / "bag").rename(tmp_path / "bag.mcap")
    [path] = [path for path in tmp_path.iterdir() if path.stem == "bag"]
    code, page, found = doctor(tmp_path, path)
    [episode] = found["episodes"]
    assert code == 0 and episode["findings"] == [] and episode["contract"] == ""
    assert {s["name"]: s["role"] for s in episode["streams"]} == {
        "/cam0/image": "camera", "/cam1/image": "camera", "/arm/joint_states": "joints",
    }  # fmt: skip
    assert page.count("data:image/jpeg") == 16 and "fr3_joint1" in page and "gripper" in page


def plain(value):
    """A message of `rosbags` as dicts and lists."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__ if not name.startswith("__")}
    return value.tolist() if isinstance(value, np.ndarray) else value


def test_loose_files_are_episodes_and_numbered_ones_are_parts(tmp_path):
    for name in ("a", "b"):
        [file] = write(tmp_path / "made" / name, recording(1.5)).glob("*.mcap")
        file.rename(tmp_path / f"made/{name}.mcap")
        (tmp_path / "made" / name / "metadata.yaml").unlink()
    _, _, found = doctor(tmp_path, tmp_path / "made")
    assert [e["name"] for e in found["episodes"]] == ["a.mcap", "b.mcap"]
    (tmp_path / "made/a.mcap").rename(tmp_path / "made/x_0.mcap")
    (tmp_path / "made/b.mcap").rename(tmp_path / "made/x_1.mcap")
    _, _, found = doctor(tmp_path, tmp_path / "made")
    assert [e["name"] for e in found["episodes"]] == ["made"]


def test_the_folder_in_which_one_stands_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path / "bag", recording(1.5)))
    assert [e["name"] for e in doctor(tmp_path, ".")[2]["episodes"]] == ["bag"]


def test_hostile_inputs(tmp_path, capsys):
    BagWriter(tmp_path / "empty_bag").close()
    code, page, found = doctor(tmp_path, tmp_path / "empty_bag")
    assert code == 1 and "it holds no message" in page and found["bad"] == 1
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines/meta").mkdir()
    (tmp_path / "lines/meta/info.json").write_text('{"codebase_version": "v2.1", "fps": 30, "features": {}}')
    (tmp_path / "lines/meta/episodes.jsonl").write_text('{"length": "x"}\n')
    code, page, found = doctor(tmp_path, tmp_path / "lines")
    assert code == 2 and found["episodes"][0]["readable"] is False
    (tmp_path / "nothing").mkdir()
    (tmp_path / "text.mcap").write_text("hello")
    for words, status, text in (
        ([tmp_path / "nothing"], 2, "holds no bag and no dataset"),
        ([tmp_path / "absent"], 2, "no such file"),
        ([tmp_path / "text.mcap"], 2, ""),
        ([tmp_path / "empty_bag", "--contract", "fr9"], 2, "fr9"),
        ([tmp_path / "empty_bag", "--details", "-1"], 2, "0 or more"),
        ([tmp_path / "empty_bag", "--out", tmp_path / "no/page.html"], 2, "folder does not exist"),
        ([tmp_path / "empty_bag", "--out", tmp_path], 2, "is a folder"),
    ):
        arguments = [str(word) for word in words]
        arguments += [] if "--out" in arguments else ["--out", str(tmp_path / "page.html")]
        assert main(["doctor", *arguments]) == status, words
        said = capsys.readouterr()
        assert text in said.err + said.out and "Traceback" not in said.err
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 2


def test_texts_of_others_cannot_steer_the_terminal(tmp_path, capsys):
    messages = recording(1.5)
    for told in messages:
        if told.topic == EVENTS and told.content.get("event") == "end":
            told.content["reason"] = "full\x1b[2J\x07"
    write(tmp_path / "bag", messages)
    assert doctor(tmp_path, tmp_path / "bag")[0] == 1
    told = capsys.readouterr().out
    assert "\x1b" not in told and "full?[2J?" in told


def test_the_line_of_progress_is_rewritten_and_taken_away(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = Terminal()
    for number in range(2):
        write(tmp_path / f"bags/{number}", recording(1.5))
    monkeypatch.setattr("sys.stderr", shown)
    doctor(tmp_path, tmp_path / "bags")
    lines = shown.getvalue().split("\r")
    assert lines[1].startswith("[.") and lines[1].rstrip("\x1b[K").endswith("% 0") and lines[-1] == "\x1b[K"
    assert "\n" not in shown.getvalue()
