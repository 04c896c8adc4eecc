"""The command `beingh`: the core's sub-commands are there with and without ROS, and exit statuses get through."""

import argparse
import re
import subprocess
import sys

import pytest
from ros_support import ROOT

from beingh_core import cli as core
from beingh_core.errors import BeingHError
from beingh_ros import cli

WITHOUT_ROS = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("rclpy", "rich", "rerun", "torch", "diagnostic_msgs", "sensor_msgs"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from beingh_ros.cli import main
sys.exit(main(sys.argv[1:]))
"""


def commands(parser):
    """Sub-command name -> its parser."""
    return next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices


def test_the_installed_command_has_every_command_of_the_core():
    assert set(commands(core.build_parser())) <= set(commands(core.build_parser(cli.REGISTERS)))


@pytest.mark.parametrize(
    "words", [["--help"], *([name, "--help"] for name in commands(core.build_parser(cli.REGISTERS)))]
)
def test_help_needs_neither_ros_nor_torch(words):
    done = subprocess.run([sys.executable, "-c", WITHOUT_ROS, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "usage: beingh" in done.stdout, done.stderr


def every_parser(parser, words=()):
    """(words, parser) of every command and of those below it."""
    yield words, parser
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for name, below in (pair for group in groups for pair in group.choices.items()):
        yield from every_parser(below, (*words, name))


def test_help_lists_every_command_with_one_line_each():
    for words, parser in every_parser(core.build_parser(cli.REGISTERS)):
        told = {
            choice.dest: choice.help
            for group in parser._actions
            if isinstance(group, argparse._SubParsersAction)
            for choice in group._choices_actions
        }
        names = commands(parser) if told else {}
        assert told.keys() == set(names), words
        for name, text in told.items():
            assert text and "\n" not in text and len(text) <= 70, (words, name)
            if not words:
                assert re.search(rf"^    {name} +{re.escape(text)}$", parser.format_help(), re.M), name


def test_a_reader_that_goes_away_is_no_error():
    words = f"{sys.executable} -m beingh_ros.cli robots show g1 | head -c 1"
    done = subprocess.run(words, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert (len(done.stdout), done.stderr) == (1, "")


def test_the_exit_status_of_a_command_is_that_of_the_program(capsys):
    def register(commands):
        parser = commands.add_parser("answer")
        parser.add_argument("status", type=int)
        parser.set_defaults(run=lambda chosen: chosen.status)

    def register_broken(commands):
        def fail(_chosen):
            raise BeingHError("it does not fit", remedy="take another")

        commands.add_parser("broken").set_defaults(run=fail)

    assert core.main(["answer", "1"], (register, register_broken)) == 1
    assert core.main(["answer", "0"], (register, register_broken)) == 0
    assert core.main(["broken"], (register, register_broken)) == 2
    assert "beingh: it does not fit" in capsys.readouterr().err


WITHOUT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
from beingh_ros.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("pyarrow", ["evaluate", ".", "--checkpoint", "checkpoints/fr3_cubes"]),
        ("mcap", ["annotate", ".", "--contract", "fr3"]),
        ("mcap", ["replay-eval", "--bag", ".", "--checkpoint", "checkpoints/fr3_cubes"]),
        ("mcap", ["export", ".", "--contract", "fr3", "--out", "never"]),
        ("matplotlib", ["soak", "--minutes", "1"]),
    ],
)
def test_a_library_that_is_not_installed_is_one_line(missing, words):
    done = subprocess.run([sys.executable, "-c", WITHOUT, missing, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert missing in done.stderr and "pip install" in done.stderr


def test_an_interrupted_command_is_one_line(capsys):
    def interrupt(_chosen):
        raise KeyboardInterrupt

    def register(commands):
        commands.add_parser("long", help="long").set_defaults(run=interrupt)

    assert core.main(["long"], [register]) == 130
    assert capsys.readouterr().err == "beingh: interrupted\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["soak", "--minutes", "0"], "--minutes: 0 minutes try no fault"),
        (["monitor", "--once", "--namespace", "/a//b"], "'/a//b' is no namespace"),
        (["monitor", "--once", "--namespace", "9x"], "'9x' is no namespace"),
    ],
)
def test_values_that_mean_nothing_are_refused(words, told, capsys):
    pytest.importorskip("rclpy")
    assert cli.main(words) == 2
    assert told in capsys.readouterr().err


def test_labels_beside_bags_are_no_bags(tmp_path):
    from beingh_core.data.export_command import find_bags

    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "metadata.yaml").touch()
    (tmp_path / "one.labels.yaml").touch()
    assert find_bags(sorted(tmp_path.iterdir())) == [tmp_path / "one"]
    assert find_bags([tmp_path, tmp_path / "one"]) == [tmp_path / "one"]  # named twice
    with pytest.raises(BeingHError, match="labels, no bags"):
        find_bags([tmp_path / "one.labels.yaml"])
