"""What the released LIBERO client sends to a policy and makes of its answer.

Facts of the released evaluation script `BeingH/benchmark/libero/run_libero_eval_fast.py` and of `scripts/eval/eval-libero.sh`, which
starts it (BeingBeyond/Being-H at 594219e): official initial state k in trial k; 10 steps with an open gripper before the policy is
asked; then at most `MAX_STEPS`; 8 actions of a chunk are executed; pictures of 512 pixels, both turned by 180 degrees; the state is
the position, the rotation vector 2 acos(w) (x, y, z) / |(x, y, z)| and the two finger joints; the first six numbers of an action go
to the environment as they are, the gripper (0 closed, 1 open) as 1 - 2 g.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from beingh_core.errors import BeingHError, did_you_mean
from beingh_core.policy.observations import named_observation

DATA_CONFIG = "libero_nonorm"
# View of the data config -> camera of the environment, and LeRobot's column of it in the published datasets.
CAMERAS = {"top_view": "agentview", "wrist_view": "robot0_eye_in_hand"}
LIFT = "robosuite_lift"
SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")  # the four of the paper's table
# Longest episode behind the settling [steps].
MAX_STEPS = {
    "libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520, "libero_90": 400, LIFT: 200
}  # fmt: skip
TASKS = {name: 10 for name in SUITES} | {"libero_90": 90, LIFT: 1}
STATES = 50  # official ones of a task
SETTLE = 10  # steps
WAIT = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])


def check_suite(name: str) -> str:
    """The name of a known suite.

    Raises:
        BeingHError: it is none.
    """
    if name not in MAX_STEPS:
        raise BeingHError(
            f"there is no suite `{name}`", where="--suites", allowed=MAX_STEPS, remedy=did_you_mean(name, MAX_STEPS)
        )
    return name


def turned(picture: np.ndarray) -> np.ndarray:
    """A picture (..., H, W, 3) of the environment, turned by 180 degrees."""
    return np.ascontiguousarray(picture[..., ::-1, ::-1, :])


def rotation_vector(quaternion_xyzw: np.ndarray) -> np.ndarray:
    """(3,) axis times angle [rad], the angle in 0 .. 2 pi as robosuite has it: q and -q are not the same here."""
    xyz, w = quaternion_xyzw[:3], float(np.clip(quaternion_xyzw[3], -1.0, 1.0))
    length = np.sqrt(1.0 - w * w)
    return np.zeros(3) if np.isclose(length, 0.0, rtol=0.0, atol=1e-12) else xyz * (2.0 * np.arccos(w) / length)


def state(seen: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """State keys of the data config of the environment's observation: (3,), (3,) and (2,), metres and radians."""
    return {
        "eef_position": seen["robot0_eef_pos"],
        "eef_rotation": rotation_vector(seen["robot0_eef_quat"]),
        "libero_gripper_position": seen["robot0_gripper_qpos"],
    }


def pictures(seen: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """View -> (frames, H, W, 3) as the policy sees them, of an observation with pictures."""
    return {view: turned(seen[f"{camera}_image"]) for view, camera in CAMERAS.items()}


def observation(seen: Mapping[str, np.ndarray], instruction: str) -> dict[str, object]:
    """The policy's observation of the environment's last one."""
    images = {view: frames[-1][None] for view, frames in pictures(seen).items()}
    values = {key: value[None] for key, value in state(seen).items()}
    return named_observation(images, values, instruction)


def environment_actions(chunk: Mapping[str, np.ndarray]) -> np.ndarray:
    """(H, 7) actions of the environment of a policy's chunk with `action.<key>` of (H, W) or (1, H, W).

    Raises:
        BeingHError: a key is missing, or the shapes do not fit.
    """
    parts = []
    for key, width in (("eef_position", 3), ("eef_rotation", 3), ("gripper_position", 1)):
        value = chunk.get(f"action.{key}")
        if value is None or np.shape(value)[-1:] != (width,):
            raise BeingHError(
                f"the policy's chunk has no `action.{key}` of width {width}",
                where=f"data config `{DATA_CONFIG}`",
                remedy="serve or load the checkpoint with this data config",
            )
        parts.append(np.asarray(value, np.float64).reshape(-1, width))
    position, rotation, gripper = parts
    return np.concatenate([position, rotation, 1.0 - 2.0 * gripper], axis=1)


def policy_action(action: np.ndarray) -> np.ndarray:
    """(7,) row of a dataset of an action of the environment: the gripper 0 closed, 1 open."""
    return np.concatenate([action[:6], [(1.0 - action[6]) / 2.0]])
