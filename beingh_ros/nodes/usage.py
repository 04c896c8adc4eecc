"""What a node answers to `--help`, and to words on its command line that mean nothing to it.

The parameters are read from the calls of `declare` in the node's own source: to declare them a node would have to be made,
which connects it to a robot.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from rclpy.utilities import remove_ros_args

from beingh_core.errors import BeingHError, shown

HELP = ("-h", "--help")
_WIDTH = 110
_GIVEN = "[--ros-args [-p PARAMETER:=VALUE] ... [-r NAME:=NAME] ... [--params-file FILE]]"


class Parameter(NamedTuple):
    """A parameter as its `declare` describes it."""

    name: str
    default: object
    description: str


def answer_to(words: Sequence[str], make_node: Callable) -> str | None:
    """The usage, where it is asked for; None where the node shall run.

    Args:
        words: Command line without the program's name.
        make_node: The node's class.

    Raises:
        BeingHError: A word that neither the node nor rclpy knows.
    """
    if not set(HELP).isdisjoint(words):
        return usage(make_node)
    try:
        unknown = remove_ros_args(args=["node", *words])[1:]
    except Exception:  # noqa: BLE001 - rclpy.init refuses the same words, and is told about there
        return None
    if unknown:
        raise BeingHError(
            f"the word {shown(unknown[0])} on the command line means nothing here",
            allowed="`--help`, or `--ros-args -p PARAMETER:=VALUE`",
        )
    return None


def usage(make_node: Callable) -> str:
    """How a node is started, and its parameters with what they do and their defaults."""
    module = sys.modules[make_node.__module__]
    program = Path(sys.argv[0])
    name = program.parent.name if program.stem == "__main__" else program.stem
    found = [*_parameters_of_node(make_node), Parameter("use_sim_time", False, "take the time from /clock")]
    width = max(len(parameter.name) for parameter in found) + 4
    lines = [f"usage: {name} {_GIVEN}", "", (module.__doc__ or "").partition("\n")[0], "", "parameters:"]
    for parameter in found:
        text = f"{parameter.description} (default: {_written(parameter.default)})"
        wrapped = textwrap.wrap(text, _WIDTH - width)
        lines += [f"  {parameter.name:<{width - 2}}{wrapped[0]}", *(" " * width + line for line in wrapped[1:])]
    return "\n".join(lines)


def _parameters_of_node(make_node: Callable) -> list[Parameter]:
    """Those of its own module, and of the nodes that it is made from."""
    classes = inspect.getmro(make_node) if inspect.isclass(make_node) else (make_node,)
    names = dict.fromkeys(one.__module__ for one in reversed(classes) if one.__module__ in sys.modules)
    ours = [name for name in names if name == make_node.__module__ or name.startswith(f"{__package__}.")]
    return [parameter for name in ours for parameter in parameters_of(sys.modules[name])]


def parameters_of(module: ModuleType) -> list[Parameter]:
    """The parameters that a node's module declares, in the order of its lines."""
    return [parameter for _, parameter in sorted(_declared(module))]


def _declared(module: ModuleType) -> Iterator[tuple[int, Parameter]]:
    for call in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "declare":
            _, name, default, description = call.args
            yield call.lineno, Parameter(*(_value(node, module) for node in (name, default, description)))


def _value(node: ast.expr, module: ModuleType) -> object:
    """A constant, or what a name stands for in the module."""
    return getattr(module, node.id) if isinstance(node, ast.Name) else ast.literal_eval(node)


def _written(value: object) -> str:
    """A default, as it is given on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(str, filter(None, value)))}]"
    return str(value) if value != "" else "empty"
