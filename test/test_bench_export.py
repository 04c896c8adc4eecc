"""`beingh bench export`: its report, and what it says without lerobot."""

import json
import sys

import pytest

from beingh_core.bench.export_bag import KEPT, pictures
from beingh_core.bench.lerobot_writer import to_and_fro
from beingh_core.cli import main


def test_without_lerobot_it_says_how_to_install_it(capsys):
    assert main(["bench", "export", "--lerobot-python", sys.executable, "--seconds", "1"]) == 2
    error = capsys.readouterr().err
    assert "lerobot is not installed" in error and "pip install --no-deps lerobot==0.4.4" in error
    assert "--without-lerobot" in error and "Traceback" not in error
    assert main(["bench", "export", "--lerobot-python", "/nowhere/python"]) == 2
    assert main(["bench", "export", "--codec", "vp9"]) == 2


def test_the_pictures_move_and_are_shown_to_and_fro():
    assert [to_and_fro(i, 3) for i in range(6)] == [0, 1, 2, 1, 0, 1]
    shown = pictures(0)
    assert len(shown) == KEPT and all((a != b).any() for a, b in zip(shown, shown[1:]))


@pytest.mark.slow
def test_report(tmp_path):
    pytest.importorskip("beingh_core.data.bags")
    assert main(["bench", "export", "--seconds", "2", "--without-lerobot", "--json", str(tmp_path / "r.json")]) == 0
    found = json.loads((tmp_path / "r.json").read_text())
    rates = {"frames_per_s", "lerobot_default_frames_per_s", "lerobot_streaming_frames_per_s"}
    rest = {"lerobot_version", "frames_dropped", "psnr_db", "lerobot_psnr_db", "peak_rss_mb"}
    assert rates | rest == set(found)
    assert found["frames_dropped"] == 0 and found["psnr_db"] > 30 and 0 < found["peak_rss_mb"] < 1500
