"""Shared by the tests that run the launch file: a prefix as colcon installs one, a checkpoint's small files."""

import sys

from beingh_core.contract import load_contract
from beingh_core.policy.metadata import write_metadata


def ament_prefix(directory, **executables):
    """A prefix as colcon installs one, with these scripts as executables of the package."""
    index = directory / "share" / "ament_index" / "resource_index" / "packages"
    scripts = directory / "lib" / "beingh_ros"
    index.mkdir(parents=True), scripts.mkdir(parents=True)
    (index / "beingh_ros").touch()
    for name, text in executables.items():
        (scripts / name).write_text(text.format(python=sys.executable, name=name))
        (scripts / name).chmod(0o755)
    return directory


def write_small_checkpoint(directory, robot="fr3"):
    """What a start looks at in the checkpoint of a robot, without weights."""
    contract = load_contract(robot)
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    write_metadata(
        directory,
        contract.policy.dataset_name,
        {"state": {}, "action": {}},
        embodiment_tag=robot,
        robot=robot,
        contract_hash=contract.hash,
    )
    return directory
