"""A controller of the FR3 that judges whether it may start."""

from control_support import FR3

from beingh_core.control.controller import Controller


def controller(**more):
    return Controller(FR3, joint_state_timeout_s=1.0, **more)
