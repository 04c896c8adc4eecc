"""MuJoCo model of the FR3 at a table with coloured cubes and cameras, built from this project's URDF."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from beingh_core.errors import BeingHError, shown

CUBE_COLOURS = {
    "red": (0.85, 0.08, 0.08, 1.0),
    "green": (0.08, 0.65, 0.12, 1.0),
    "blue": (0.08, 0.20, 0.85, 1.0),
}
CUBE_SIZE_M = 0.04
# Where cubes are placed [m, base frame]; all of it is in view of the wrist camera at the home pose.
CUBE_AREA_XY = ((0.40, 0.60), (-0.15, 0.15))
# An open Franka hand spans 0.11 m over the fingers: nearer neighbours would be hit.
CUBE_SPACING_M = 0.09
CUBE_MAX_YAW_RAD = 0.25
TABLE_CENTRE_XY = np.array([0.5, 0.0])
TIMESTEP_S = 0.0025
TOOL_FROM_HAND_M = 0.1034

# The wrist camera sits in front of the hand and looks along the fingers, tilted back to see between them (hand frame).
_WRIST_EYE = np.array([0.07, 0.0, 0.035])
_WRIST_AHEAD = np.array([-np.sin(np.deg2rad(12)), 0.0, np.cos(np.deg2rad(12))])
_WRIST_FOVY_DEG = 80

_ARM_GAINS = {
    "fr3_joint1": 4000.0,
    "fr3_joint2": 4000.0,
    "fr3_joint3": 3500.0,
    "fr3_joint4": 3500.0,
    "fr3_joint5": 2000.0,
    "fr3_joint6": 2000.0,
    "fr3_joint7": 2000.0,
}
_FINGER_GAIN_N_M = 2000.0
_FINGER_FORCE_N = 25.0
_STIFF_SOLREF, _STIFF_SOLIMP = [0.006, 1.0], [0.97, 0.995, 0.001, 0.5, 2.0]
_ROBOT, _WORLD = 1, 2


def build_model(urdf_path: str | Path) -> mujoco.MjModel:
    """Compile the scene.

    Args:
        urdf_path: the FR3 URDF of this project; joint and link names are used as they stand there.

    Returns:
        A model with position actuators named after their joints, free bodies `cube_<colour>`, and the cameras
        `scene_camera`, `wrist_camera` and `spectator_camera`.

    Raises:
        BeingHError: another robot, or a file that MuJoCo cannot read.
    """
    try:
        spec = mujoco.MjSpec.from_file(str(urdf_path))
    except ValueError as error:
        raise BeingHError(f"MuJoCo cannot read this: {error}", where=urdf_path) from error
    arm = {joint.name for joint in spec.joints if "finger" not in joint.name}
    if arm != set(_ARM_GAINS):
        raise BeingHError(
            f"the simulator cannot show this robot: {shown(sorted(arm ^ set(_ARM_GAINS)))} differ",
            where=urdf_path,
            allowed="a contract with urdf/fr3.urdf",
            remedy="simulate `fr3`, or start this robot's own drivers in place of the simulator",
        )
    spec.compiler.fusestatic = False
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 640, 480
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.offsamples = 0
    spec.visual.headlight.diffuse = [0.15, 0.15, 0.15]
    spec.visual.headlight.ambient = [0.15, 0.15, 0.15]
    spec.visual.headlight.specular = [0.0, 0.0, 0.0]
    _prepare_robot(spec)
    _add_world(spec)
    _add_cameras(spec)
    return spec.compile()


def _prepare_robot(spec: mujoco.MjSpec) -> None:
    for geom in spec.geoms:
        geom.contype, geom.conaffinity = _ROBOT, _WORLD
        if "finger" in geom.parent.name:
            geom.friction = [1.5, 0.02, 0.001]
            geom.condim = 4
            geom.solref, geom.solimp = _STIFF_SOLREF, _STIFF_SOLIMP
    for body in spec.bodies[1:]:
        # The real arm compensates gravity itself.
        body.gravcomp = 1.0
    for joint in spec.joints:
        joint.armature = 0.1 if "finger" not in joint.name else 0.01
        actuator = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        if "finger" in joint.name:
            actuator.set_to_position(kp=_FINGER_GAIN_N_M, dampratio=1.0)
            actuator.forcerange = [-_FINGER_FORCE_N, _FINGER_FORCE_N]
        else:
            actuator.set_to_position(kp=_ARM_GAINS[joint.name], dampratio=1.0)
            effort = 87.0 if joint.name in ("fr3_joint1", "fr3_joint2", "fr3_joint3", "fr3_joint4") else 12.0
            # Headroom over the rated torque keeps the tracking of quick moves stiff, as the vendor's controller does.
            actuator.forcerange = [-3 * effort, 3 * effort]


def _add_world(spec: mujoco.MjSpec) -> None:
    world = spec.worldbody
    world.add_light(
        pos=[0.4, -0.4, 1.8],
        dir=[0.1, 0.25, -1.0],
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        castshadow=False,
        diffuse=[0.45, 0.45, 0.45],
        ambient=[0.3, 0.3, 0.3],
        specular=[0.0, 0.0, 0.0],
    )
    world.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[0.45, 0.6, 0.02],
        pos=[0.5, 0, -0.02],
        rgba=[0.72, 0.66, 0.58, 1],
        contype=_WORLD,
        conaffinity=_ROBOT | _WORLD,
        friction=[1.0, 0.01, 0.001],
    )
    world.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[3, 3, 0.1],
        pos=[0, 0, -0.04],
        rgba=[0.42, 0.45, 0.48, 1],
        contype=_WORLD,
        conaffinity=_ROBOT | _WORLD,
    )
    for colour, rgba in CUBE_COLOURS.items():
        body = world.add_body(name=f"cube_{colour}", pos=[0.5, 0, CUBE_SIZE_M / 2])
        body.add_freejoint(name=f"cube_{colour}")
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[CUBE_SIZE_M / 2] * 3,
            rgba=rgba,
            mass=0.06,
            contype=_WORLD,
            conaffinity=_ROBOT | _WORLD,
            friction=[1.0, 0.02, 0.001],
            condim=4,
            solref=_STIFF_SOLREF,
            solimp=_STIFF_SOLIMP,
        )


def _add_cameras(spec: mujoco.MjSpec) -> None:
    spec.worldbody.add_camera(
        name="scene_camera",
        pos=[1.02, 0.0, 0.62],
        fovy=42,
        quat=_look_at(np.array([1.02, 0.0, 0.62]), np.array([0.48, 0.0, 0.04]), np.array([0, 0, 1.0])),
    )
    spec.worldbody.add_camera(
        name="spectator_camera",
        pos=[1.25, -0.80, 0.70],
        fovy=42,
        quat=_look_at(np.array([1.25, -0.80, 0.70]), np.array([0.36, 0.0, 0.24]), np.array([0, 0, 1.0])),
    )
    spec.body("fr3_hand").add_camera(
        name="wrist_camera",
        pos=_WRIST_EYE,
        fovy=_WRIST_FOVY_DEG,
        quat=_look_at(_WRIST_EYE, _WRIST_EYE + _WRIST_AHEAD, np.array([1.0, 0, 0])),
    )


def wrist_view_of(point: np.ndarray, tool: np.ndarray) -> tuple[float, float]:
    """Where the wrist camera sees a point while the gripper points straight down.

    Args:
        point, tool: positions (3,) of the point and of the tool [m, base frame].

    Returns:
        right of and above the middle of the picture, in half widths; beyond 1 it is out of view. A point behind
        the camera gives infinity.
    """
    hand_from_base = np.diag([1.0, -1.0, -1.0])
    ray = hand_from_base @ (point - tool) + [0.0, 0.0, TOOL_FROM_HAND_M] - _WRIST_EYE
    depth = ray @ _WRIST_AHEAD
    if depth <= 0:
        return float("inf"), float("inf")
    up = np.array([_WRIST_AHEAD[2], 0.0, -_WRIST_AHEAD[0]])
    half = depth * np.tan(np.deg2rad(_WRIST_FOVY_DEG / 2))
    return float(ray @ np.cross(_WRIST_AHEAD, up) / half), float(ray @ up / half)


def _look_at(eye: np.ndarray, target: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Quaternion (w, x, y, z) of a MuJoCo camera (looks along its -z, y up) at `eye` that looks at `target`."""
    back = (eye - target) / np.linalg.norm(eye - target)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.column_stack([right, np.cross(back, right), back]).ravel())
    return quat


def sample_cubes(rng: np.random.Generator) -> dict[str, tuple[np.ndarray, float]]:
    """Draw cube places: colour -> (position (3,) [m], yaw [rad]), at least `CUBE_SPACING_M` apart."""
    (x0, x1), (y0, y1) = CUBE_AREA_XY
    while True:
        xy = rng.uniform([x0, y0], [x1, y1], size=(len(CUBE_COLOURS), 2))
        gaps = np.linalg.norm(xy[:, None] - xy[None], axis=-1)[np.triu_indices(len(xy), 1)]
        if gaps.min() >= CUBE_SPACING_M:
            break
    yaw = rng.uniform(-CUBE_MAX_YAW_RAD, CUBE_MAX_YAW_RAD, size=len(xy))
    return {colour: (np.array([*p, CUBE_SIZE_M / 2]), float(a)) for colour, p, a in zip(CUBE_COLOURS, xy, yaw)}
