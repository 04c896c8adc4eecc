"""MuJoCo model of a robot at a table with coloured cubes and cameras, built from its URDF."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import combinations, count
from pathlib import Path

import mujoco
import numpy as np

from beingh_core.contract.simulated import SimJoint, SimWorld
from beingh_core.contract.urdf import UrdfFacts, read_urdf
from beingh_core.sim.describe import robot_spec
from beingh_core.sim.layout import (
    CUBE_SIZE_M,
    TABLE_HALF_M,
    TABLE_THICK_M,
    Layout,
)
from beingh_core.sim.planar_base import add_planar_base
from beingh_core.sim.spectator import SPECTATOR
from beingh_core.sim.standing import SCENE_FOVY_DEG, WRIST_FOVY_DEG, Standing, look_at
from beingh_core.sim.things import add_things
from beingh_core.sim.views import SCENE, SCENES, WRIST

CUBE_COLOURS = {
    "red": (0.85, 0.08, 0.08, 1.0),
    "green": (0.08, 0.65, 0.12, 1.0),
    "blue": (0.08, 0.20, 0.85, 1.0),
}
CUBE_MAX_YAW_RAD = 0.25
TIMESTEP_S = 0.0025

# Above the floor, from the horizon up.
_SKY = ([0.95, 0.96, 0.97], [0.80, 0.85, 0.90])

# Stiffness of the vendor's own joint controllers [N m/rad].
_ARM_GAINS = {f"fr3_joint{n}": 4000.0 if n < 3 else 3500.0 if n < 5 else 2000.0 for n in range(1, 8)}
# Elsewhere a joint that is so far from its reference pushes with all of its effort [rad, m]; efforts beyond these bounds are
# place-holders of exporters [N m, N].
_FULL_EFFORT_AT = {False: 0.04, True: 0.0125}
_EFFORT_BOUNDS = {False: (0.5, 400.0), True: (5.0, 2000.0)}
# Rotor and gears as seen from the joint, such that the position loop is no faster than this, which the time step resolves.
_LOOP_RAD_S = 200.0
_FINGER_GAIN_N_M = 2000.0
_FINGER_FORCE_N = 25.0
_FINGER_KG = 0.01
# A tied joint has no motor of its own [kg m^2].
_TIED_ARMATURE = 1e-4
_STIFF_SOLREF, _STIFF_SOLIMP = [0.006, 1.0], [0.97, 0.995, 0.001, 0.5, 2.0]
# Of a cube of `CUBE_SIZE_M`.
_CUBE_KG = 0.06
_ROBOT, _WORLD, _SELF = 1, 2, 4
_FINGER = "finger"


def build_model(
    urdf_path: str | Path,
    layout: Layout | None = None,
    *,
    drives: bool = False,
    world: SimWorld = SimWorld(),
    cameras: Sequence[Standing] = (),
    most_pixels: tuple[int, int] = (0, 0),
    touching: Collection[tuple[str, str]] = (),
    rigid_ties: bool = False,
) -> mujoco.MjModel:
    """Compile the scene.

    Args:
        urdf_path: the robot; joint and link names are used as they stand there.
        layout: where things stand, default the FR3's.
        drives: whether the robot stands on a planar base.
        world: a contract's `sim`.
        cameras: beside those that every scene has.
        most_pixels: (height, width) of the largest picture.
        touching: pairs of links that collide with each other; others of the robot pass through.
        rigid_ties: whether joints that turn with another one do not give way; else such a finger yields to what it pushes.

    Returns:
        A model with position actuators named after their joints, free bodies `cube_<colour>`, and the cameras
        `scene_camera`, `wrist_camera` and `spectator_camera`. Joints that turn with another one are tied to it and have no
        actuator; fingers that slide have one each.

    Raises:
        BeingHError: a file that MuJoCo cannot read.
    """
    spec = robot_spec(urdf_path)
    layout = layout or Layout()
    spec.option.timestep = TIMESTEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    spec.visual.global_.offheight, spec.visual.global_.offwidth = np.maximum((480, 640), most_pixels).tolist()
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.offsamples = 0
    spec.visual.headlight.diffuse = [0.15, 0.15, 0.15]
    spec.visual.headlight.ambient = [0.15, 0.15, 0.15]
    spec.visual.headlight.specular = [0.0, 0.0, 0.0]
    _add_sky(spec)
    _prepare_robot(spec, read_urdf(Path(urdf_path)), world)
    if touching:
        _let_touch(spec, touching)
    for tie in spec.equalities if rigid_ties else ():
        tie.solref, tie.solimp = _STIFF_SOLREF, _STIFF_SOLIMP
    if drives:
        add_planar_base(spec)
    _add_world(spec, layout)
    add_things(spec, world.objects, layout, {"contype": _WORLD, "conaffinity": _ROBOT | _WORLD})
    _add_cameras(spec, layout, cameras)
    return spec.compile()


def _prepare_robot(spec: mujoco.MjSpec, urdf: UrdfFacts, world: SimWorld) -> None:
    fingers = {body for body in (geom.parent.name for geom in spec.geoms) if _is_finger(body, urdf)}
    for geom in spec.geoms:
        if not geom.contype:  # drawn only
            continue
        geom.contype, geom.conaffinity = _ROBOT, _WORLD
        if geom.parent.name in fingers:
            geom.friction = [1.5, 0.02, 0.001]
            geom.condim = 4
            geom.solref, geom.solimp = _STIFF_SOLREF, _STIFF_SOLIMP
    for body in spec.bodies[1:]:
        # Real arms compensate gravity themselves.
        body.gravcomp = 1.0
    for joint in spec.joints:
        facts = urdf.joints[joint.name]
        said = world.joints.get(joint.name, SimJoint())
        slides = facts.type == "prismatic"
        low, high = _EFFORT_BOUNDS[slides]
        effort = float(np.clip(facts.effort, low, high)) if facts.effort > 0.0 else high / 10.0
        stiffness = _ARM_GAINS.get(joint.name, effort / _FULL_EFFORT_AT[slides])
        if slides and _FINGER in joint.name:
            effort, stiffness = _FINGER_FORCE_N, _FINGER_GAIN_N_M
        effort, stiffness = said.effort or effort, said.stiffness or stiffness
        joint.armature = _FINGER_KG if slides and _FINGER in joint.name else stiffness / _LOOP_RAD_S**2
        if facts.mimics is not None and not slides:
            joint.armature = _TIED_ARMATURE
            continue
        joint.armature = said.armature or joint.armature
        joint.frictionloss += said.friction + world.faults.joint_friction * effort
        actuator = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        if said.damping is None:
            actuator.set_to_position(kp=stiffness, dampratio=1.0)
        else:
            actuator.set_to_position(kp=stiffness, kv=said.damping)
        actuator.forcerange = [-effort, effort]


def _add_sky(spec: mujoco.MjSpec) -> None:
    if spec.compiler.discardvisual:  # which would leave out the sky, too
        for geom in [geom for geom in spec.geoms if not geom.contype and not geom.conaffinity]:
            spec.delete(geom)
        spec.compiler.discardvisual = False
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=_SKY[1],
        rgb2=_SKY[0],
        width=64,
        height=64,
    )


def _let_touch(spec: mujoco.MjSpec, pairs: Collection[tuple[str, str]]) -> None:
    """Links of these pairs collide, and no others of the robot."""
    wanted = {frozenset(pair) for pair in pairs}
    for geom in spec.geoms:
        geom.contype, geom.conaffinity = _ROBOT | _SELF, _WORLD | _SELF
    solid = sorted({geom.parent.name for geom in spec.geoms})
    for first, second in combinations(solid, 2):
        if frozenset((first, second)) not in wanted:
            spec.add_exclude(bodyname1=first, bodyname2=second)


def _is_finger(link: str, urdf: UrdfFacts) -> bool:
    """Whether a link is called finger, jaw or thumb, or hangs on a joint that mimics or is mimicked."""
    if any(word in link for word in (_FINGER, "jaw", "thumb")):
        return True
    joint = urdf.carriers.get(link, ("", ""))[0]
    mimicked = {facts.mimics for facts in urdf.joints.values()}
    return joint in urdf.joints and (urdf.joints[joint].mimics is not None or joint in mimicked)


def _add_world(spec: mujoco.MjSpec, layout: Layout) -> None:
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
        size=[*TABLE_HALF_M, TABLE_THICK_M / 2],
        pos=layout.table - np.array([0.0, 0.0, TABLE_THICK_M / 2]),
        rgba=[0.72, 0.66, 0.58, 1],
        contype=_WORLD,
        conaffinity=_ROBOT | _WORLD,
        friction=[1.0, 0.01, 0.001],
    )
    world.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[3, 3, 0.1],
        pos=[0, 0, layout.floor],
        rgba=[0.42, 0.45, 0.48, 1],
        contype=_WORLD,
        conaffinity=_ROBOT | _WORLD,
    )
    for colour, rgba in CUBE_COLOURS.items():
        body = world.add_body(name=f"cube_{colour}", pos=layout.table + np.array([0.0, 0.0, layout.cube_m / 2]))
        body.add_freejoint(name=f"cube_{colour}")
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[layout.cube_m / 2] * 3,
            rgba=rgba,
            mass=_CUBE_KG * (layout.cube_m / CUBE_SIZE_M) ** 3,
            contype=_WORLD,
            conaffinity=_ROBOT | _WORLD,
            friction=[1.0, 0.02, 0.001],
            condim=4,
            solref=_STIFF_SOLREF,
            solimp=_STIFF_SOLIMP,
        )


def _add_cameras(spec: mujoco.MjSpec, layout: Layout, further: Sequence[Standing]) -> None:
    eye, target = np.array(SCENES[0])
    quat = look_at(eye, target, np.array([0.0, 0.0, 1.0]))
    for name in (SCENE, SPECTATOR):
        spec.worldbody.add_camera(name=name, pos=eye + layout.offset, fovy=SCENE_FOVY_DEG, quat=quat)
    first = Standing(WRIST, layout.hand, layout.eye, layout.ahead, layout.up, WRIST_FOVY_DEG)
    for camera in (first, *further):
        eye, ahead, up = (np.array(vector) for vector in (camera.eye, camera.ahead, camera.up))
        body = spec.worldbody if camera.link is None else spec.body(camera.link)
        body.add_camera(name=camera.name, pos=eye, fovy=camera.fovy_deg, quat=look_at(eye, eye + ahead, up))


def sample_cubes(
    rng: np.random.Generator,
    layout: Layout | None = None,
    fits: Callable[[np.ndarray, float], bool] = lambda _xy, _share: True,
) -> dict[str, tuple[np.ndarray, float]]:
    """Draw cube places on a table: colour -> (position (3,) [m], yaw [rad]), at least `spacing_m` apart.

    Args:
        rng: draws.
        layout: where things stand, default the FR3's.
        fits: what else is asked of the places (N, 2), by a share that becomes smaller where it is hardly to be had.
    """
    layout = layout or Layout()
    (x0, x1), (y0, y1) = layout.area
    # Where an area has hardly room for so much, they come nearer.
    for tries in count():
        xy = rng.uniform([x0, y0], [x1, y1], size=(len(CUBE_COLOURS), 2))
        gaps = np.linalg.norm(xy[:, None] - xy[None], axis=-1)[np.triu_indices(len(xy), 1)]
        share = 0.98 ** (tries // 500)
        if gaps.min() >= layout.spacing_m * share and fits(xy, share):
            break
    yaw = layout.yaw_rad + rng.uniform(-CUBE_MAX_YAW_RAD, CUBE_MAX_YAW_RAD, size=len(xy))
    height = layout.table[2] + layout.cube_m / 2
    return {c: (np.array([*p, height]), float(a)) for c, p, a in zip(CUBE_COLOURS, xy, yaw)}
