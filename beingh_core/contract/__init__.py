"""The robot contract: one YAML file that drives live nodes, replay, export and training alike."""

from beingh_core.contract.loader import load_contract
from beingh_core.contract.schema import (
    ActionSignal,
    CameraStream,
    Driver,
    DriverGroup,
    PolicySettings,
    RobotContract,
    StateSignal,
    Uac,
)

__all__ = [
    "ActionSignal",
    "CameraStream",
    "Driver",
    "DriverGroup",
    "PolicySettings",
    "RobotContract",
    "StateSignal",
    "Uac",
    "load_contract",
]
