"""A simulated robot: joint commands in, joint states and camera images out, in physical time."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import mujoco
import numpy as np

from beingh_core.contract.schema import RobotContract
from beingh_core.contract.simulated import SimFaults, SimWorld
from beingh_core.contract.urdf import read_urdf
from beingh_core.sim.describe import followed, robot_spec, shape_check
from beingh_core.sim.hand import hands_of
from beingh_core.sim.layout import Layout, layout_of
from beingh_core.sim.planar_base import BASE_JOINTS, add_planar_base
from beingh_core.sim.scene import CUBE_COLOURS, build_model, sample_cubes
from beingh_core.sim.spectator import frame
from beingh_core.sim.stage import AROUND_M, Stage
from beingh_core.sim.standing import Standing
from beingh_core.sim.things import DRAWER_JOINT, Thing, scatter, things_of
from beingh_core.sim.views import SimView, views_of
from beingh_core.tasks import BOWL, PICK, Task

# Of the seed of the noise, beside that of the scene.
_NOISE = 1
FINGERS = ("fr3_finger_joint1", "fr3_finger_joint2")


class Contact(NamedTuple):
    """A link that touches something: `position` (3,) [m] where most, `force` (3,) [N] on the link, in the world frame."""

    link: str
    other: str
    position: np.ndarray
    force: np.ndarray


class SimRobot:
    """A robot at its table.

    Not thread safe. Rendering uses an OpenGL context that belongs to the thread that rendered first.

    Args:
        urdf_path: robot description.
        home: joint name -> position [rad or m] after a reset; joints without an entry start at 0.
        image_size: (height, width) of the rendered images [px].
        layout: where things stand around it, default the FR3's.
        drives: whether it stands on a base that drives; see `planar_base`.
        world: what a contract says of joints, faults and objects.
        views: of a contract.
        cameras: that they need.
        touching: pairs of its links that collide.
        stage: where the things of told tasks are put; None for those of a pick.

    Attributes:
        views: view of the contract -> what it shows.
    """

    def __init__(
        self,
        urdf_path: str | Path,
        home: Mapping[str, float],
        image_size: tuple[int, int] = (96, 96),
        layout: Layout | None = None,
        drives: bool = False,
        world: SimWorld = SimWorld(),
        views: Sequence[SimView] = (),
        cameras: Sequence[Standing] = (),
        touching: Collection[tuple[str, str]] = (),
        stage: Stage | None = None,
    ):
        self.layout, self.views, self._faults = layout or Layout(), {view.name: view for view in views}, world.faults
        self._things, self._stage = world.objects, stage
        most = (max((v.height for v in views), default=0), max((v.width for v in views), default=0))
        self.model = build_model(
            urdf_path, self.layout, drives=drives, world=world, cameras=cameras, most_pixels=most, touching=touching,
            rigid_ties=stage is not None and stage.clears,
        )  # fmt: skip
        self._urdf = read_urdf(Path(urdf_path))
        self.data = mujoco.MjData(self.model)
        self.home = dict(home)
        self.image_size = image_size
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}
        joints = [
            self.model.joint(i) for i in range(self.model.njnt) if self.model.jnt_type[i] != mujoco.mjtJoint.mjJNT_FREE
        ]
        base = [joint for joint in joints if joint.name in BASE_JOINTS]
        self._base_qpos = np.array([joint.qposadr[0] for joint in base], dtype=int)
        self._base_qvel = np.array([joint.dofadr[0] for joint in base], dtype=int)
        self._base = np.array([self.model.actuator(joint.name).id for joint in base], dtype=int)
        joints = [joint for joint in joints if joint.name not in (*BASE_JOINTS, DRAWER_JOINT)]
        self.joint_names = tuple(j.name for j in joints)
        self._qpos = np.array([j.qposadr[0] for j in joints])
        self._qvel = np.array([j.dofadr[0] for j in joints])
        # -1 for a joint that only follows another one.
        self._actuator = np.array(
            [mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_ACTUATOR, n) for n in self.joint_names]
        )
        self._index = {n: i for i, n in enumerate(self.joint_names)}
        arm = self.model.body(joints[0].bodyid[0]).rootid[0]
        self._is_arm = self.model.body_rootid[self.model.geom_bodyid] == arm
        self.reset(0)
        around_m = AROUND_M if stage is not None and stage.things else 0.0
        frame(self.model, self.data, np.flatnonzero(self._is_arm), self.layout, around_m)

    @classmethod
    def of(cls, contract: RobotContract, faults: SimFaults | None = None, tasks: Sequence[Task] = (PICK,)) -> SimRobot:
        """The robot of a contract, with its faults or others, in scenes of some tasks.

        Raises:
            BeingHError: MuJoCo cannot read its URDF, nothing moves an arm, or a task needs a hand and there is none.
        """
        home, drives = dict(zip(contract.joint_names, contract.home)), any(d.is_velocity for d in contract.drivers)
        urdf, spec = read_urdf(contract.urdf_path), robot_spec(contract.urdf_path)
        if drives:  # what drives must not stand in the table
            add_planar_base(spec)
        alone = spec.compile()
        layout = layout_of(contract, urdf, alone)
        data = mujoco.MjData(alone)
        for name, value in followed(urdf, home).items():
            data.joint(name).qpos = value
        mujoco.mj_kinematics(alone, data)
        check, hands = shape_check(contract), hands_of(contract)
        views, cameras = views_of(contract, layout, hands, alone, data)
        stage = Stage(contract, hands, layout, tasks, alone, data)
        world = contract.sim if faults is None else replace(contract.sim, faults=faults)
        return cls(
            contract.urdf_path,
            home,
            layout=layout,
            drives=drives,
            world=replace(world, objects=tuple(dict.fromkeys((*world.objects, *stage.things)))),
            views=views,
            cameras=cameras,
            touching=check.pairs if check else (),
            stage=stage,
        )

    @property
    def time_s(self) -> float:
        """Simulated time since the last reset [s]."""
        return float(self.data.time)

    def reset(self, seed: int) -> None:
        """Put the arm at home and the things where `seed` says."""
        mujoco.mj_resetData(self.model, self.data)
        self._rng = np.random.default_rng([seed, _NOISE])
        self._late: deque[tuple[float, dict[str, float]]] = deque()
        self._base_goal = np.zeros(len(self._base))
        cubes = self._stage.cubes(seed) if self._stage else sample_cubes(np.random.default_rng(seed), self.layout)
        for colour, (position, yaw) in cubes.items():
            self.place_cube(colour, position, yaw)
        scatter(self.model, self.data, self._things, seed)
        if self._stage and BOWL in self._stage.things:
            yaw = self.layout.yaw_rad
            turned = [np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
            self.data.joint(f"thing_{BOWL}").qpos = [*self._stage.bowl(seed, cubes), *turned]
        self.place_joints(self.home)

    def place_joints(self, positions: Mapping[str, float]) -> None:
        """Teleport joints (by name) and hold them there."""
        target = self._with_mimic(positions)
        for name, value in target.items():
            i = self._index[name]
            self.data.qpos[self._qpos[i]] = value
            if self._actuator[i] >= 0:
                self.data.ctrl[self._actuator[i]] = value
        self.data.qvel[self._qvel] = 0.0
        mujoco.mj_forward(self.model, self.data)

    def place_cube(self, colour: str, position: np.ndarray, yaw: float) -> None:
        """Put a cube at `position` (3,) [m] turned by `yaw` [rad] about z."""
        joint = self.data.joint(f"cube_{colour}")
        joint.qpos = [*position, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
        joint.qvel = 0.0

    def command(self) -> dict[str, float]:
        """Present position references by joint name [rad or m]."""
        moved = self._actuator >= 0
        names = (name for name, is_moved in zip(self.joint_names, moved) if is_moved)
        return dict(zip(names, self.data.ctrl[self._actuator[moved]].tolist()))

    def step(self, duration_s: float, positions: Mapping[str, float] | None = None) -> None:
        """Advance physics by `duration_s`; references move linearly to `positions` over that time when given.

        With a delay of the actuators these are the positions given so long ago.
        """
        positions = self._delayed(positions)
        steps = max(1, round(duration_s / self.model.opt.timestep))
        if positions is None:
            mujoco.mj_step(self.model, self.data, nstep=steps)
            return
        goal = {n: value for n, value in self._with_mimic(positions).items() if self._actuator[self._index[n]] >= 0}
        ids = np.concatenate([self._actuator[[self._index[n] for n in goal]], self._base])
        start, end = self.data.ctrl[ids].copy(), np.array([*goal.values(), *self._base_goal])
        for k in range(1, steps + 1):
            self.data.ctrl[ids] = start + (end - start) * (k / steps)
            mujoco.mj_step(self.model, self.data)

    def _delayed(self, positions: Mapping[str, float] | None) -> Mapping[str, float] | None:
        """What has reached the actuators by now."""
        if positions is None or self._faults.actuator_delay_s <= 0.0:
            return positions
        self._late.append((self.time_s + self._faults.actuator_delay_s - 1e-9, dict(positions)))
        reached = self.command()
        while self._late and self._late[0][0] <= self.time_s:
            reached = self._late.popleft()[1]
        return reached

    def drive(self, pose: np.ndarray) -> None:
        """Where the base is to be (3,) after the next step: x, y [m] and turn [rad] in the world."""
        self._base_goal = np.array(pose, dtype=float)

    def base(self) -> tuple[np.ndarray, np.ndarray]:
        """Pose (3,) of the base in the world [m, m, rad], and its velocity (3,) forward, left and turning; 0 without one."""
        if not len(self._base):
            return np.zeros(3), np.zeros(3)
        pose, (x, y, turn) = self.data.qpos[self._base_qpos].copy(), self.data.qvel[self._base_qvel]
        cos, sin = np.cos(pose[2]), np.sin(pose[2])
        return pose, np.array([cos * x + sin * y, cos * y - sin * x, turn])

    def joint_state(self) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        """Names, measured positions (J,) [rad or m] and velocities (J,) of every joint, with the noise of the faults."""
        positions = self.data.qpos[self._qpos].copy()
        if self._faults.joint_noise > 0.0:
            positions += self._rng.normal(0.0, self._faults.joint_noise, len(positions))
        return self.joint_names, positions, self.data.qvel[self._qvel].copy()

    def positions(self) -> dict[str, float]:
        """True joint positions by name [rad or m]."""
        return dict(zip(self.joint_names, self.data.qpos[self._qpos].tolist()))

    def effort(self, joint: str) -> float:
        """What the actuator of a joint does [N m or N]."""
        return float(self.data.actuator(joint).force[0])

    def gains(self, joint: str) -> tuple[float, float]:
        """Stiffness and damping of the position controller of a joint [N m/rad or N/m, N m s/rad or N s/m]."""
        actuator = self.model.actuator(joint)
        return float(actuator.gainprm[0]), -float(actuator.biasprm[2])

    def set_gains(self, gains: Mapping[str, tuple[float, float]]) -> None:
        """Joint -> stiffness and damping, until they are set again."""
        for joint, (stiffness, damping) in gains.items():
            actuator = self.model.actuator(joint)
            actuator.gainprm[0], actuator.biasprm[1], actuator.biasprm[2] = stiffness, -stiffness, -damping

    def objects(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Colour -> (position (3,) [m], quaternion (4,) w x y z) of every cube, as seen from the root link."""
        bodies = {colour: self.data.body(f"cube_{colour}") for colour in CUBE_COLOURS}
        return {colour: self._from_root(body.xpos.copy(), body.xquat.copy()) for colour, body in bodies.items()}

    def touched(self) -> set[str]:
        """Colours of the cubes that the robot touches."""
        return {contact.other.removeprefix("cube_") for contact in self.contacts()} & set(CUBE_COLOURS)

    def things(self) -> dict[str, Thing]:
        """Name -> the thing, of those beside the cubes, as seen from the root link."""
        found = {}
        for name, thing in things_of(self.data, self._things).items():
            place, quaternion = self._from_root(thing.position, thing.quaternion)
            found[name] = thing._replace(position=place, quaternion=quaternion)
        return found

    def _from_root(self, position: np.ndarray, quaternion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A pose (3,) [m], (4,) of the world in the axes of the root link, which a base may have driven away."""
        if not len(self._base):
            return position, quaternion
        pose, _ = self.base()
        turn, place, turned = np.array([np.cos(pose[2] / 2), 0.0, 0.0, -np.sin(pose[2] / 2)]), np.zeros(3), np.zeros(4)
        mujoco.mju_rotVecQuat(place, position - [pose[0], pose[1], 0.0], turn)
        mujoco.mju_mulQuat(turned, turn, quaternion)
        return place, turned

    def contacts(self) -> list[Contact]:
        """Which links of the arm touch something, also each other; one entry for each pair."""
        found: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
        wrench = np.zeros(6)
        for index in np.flatnonzero(self._is_arm[self.data.contact.geom].any(axis=1)):
            contact = self.data.contact[index]
            # MuJoCo gives the force of the first geometry on the second, in the frame whose axes are the rows of `frame`.
            mujoco.mj_contactForce(self.model, self.data, index, wrench)
            force = contact.frame.reshape(3, 3).T @ wrench[:3]
            first, second = contact.geom
            link, other, force = (first, second, -force) if self._is_arm[first] else (second, first, force)
            pair = self._geom_name(link), self._geom_name(other)
            found.setdefault(pair, []).append((contact.pos.copy(), force))
        return [
            Contact(*pair, max(points, key=lambda point: np.linalg.norm(point[1]))[0], sum(f for _, f in points))
            for pair, points in found.items()
        ]

    def _geom_name(self, geom: int) -> str:
        return self.model.geom(geom).name or self.model.body(self.model.geom_bodyid[geom]).name

    def snapshot(self, into: mujoco.MjData | None = None) -> mujoco.MjData:
        """A copy of where everything is now, for `Pictures` in another thread; `into` an earlier one is faster."""
        found = into or mujoco.MjData(self.model)
        mujoco.mj_copyData(found, self.model, self.data)
        return found

    def render(self, camera: str, size: tuple[int, int] | None = None) -> np.ndarray:
        """Image (H, W, 3) uint8 RGB of the named camera."""
        size = size or self.image_size
        if size not in self._renderers:
            self._renderers[size] = mujoco.Renderer(self.model, *size)
        renderer = self._renderers[size]
        renderer.update_scene(self.data, camera=camera)
        return renderer.render()

    def close(self) -> None:
        """Release the OpenGL contexts; call from the thread that rendered."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _with_mimic(self, positions: Mapping[str, float]) -> dict[str, float]:
        """Joints that mimic another one follow it, as the URDF says."""
        return followed(self._urdf, dict(positions))
