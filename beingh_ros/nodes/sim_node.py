"""A simulated robot that publishes and accepts what the real one's drivers do.

In the namespace of the node, publishes the joint states that the contract reads (50 Hz), every camera of the contract with its
CameraInfo (see `sim_cameras`), sim/objects, sim/contacts while the arm touches something, and on request a spectator camera. Accepts what the
drivers of the contract send (see `sim_commands` and `sim_jobs`), with the contract's names and units.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback

os.environ.setdefault("MUJOCO_GL", "egl")  # before mujoco is imported

import rclpy
from geometry_msgs.msg import Point, Quaternion
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from beingh_core.contract import RobotContract, load_contract
from beingh_core.contract.arms import base_frame
from beingh_core.contract.simulation import check_simulation
from beingh_core.control.timing import SteadyTime
from beingh_core.errors import BeingHError
from beingh_core.sim import CUBE_COLOURS, SimRobot
from beingh_core.sim.describe import left_open
from beingh_core.sim.things import Thing
from beingh_core.tasks import tasks_named
from beingh_ros.messages.conversions import ns_to_stamp
from beingh_ros.messages.topics import CONTACTS_TOPIC, OBJECTS_TOPIC
from beingh_ros.nodes.guard import GuardedNode
from beingh_ros.nodes.runtime import declare, raise_priority, run_node
from beingh_ros.nodes.sim_cameras import SimCameras
from beingh_ros.nodes.sim_contacts import contact_markers
from beingh_ros.nodes.sim_drivers import SimDrivers
from beingh_ros.nodes.sim_faults import declare_faults
from beingh_ros.nodes.sim_states import publications

STEP_NS = 10_000_000  # physics and reference update
OBJECTS_RATE_HZ = 20.0
MAX_LAG_NS = 200_000_000
# Clients whose goals have not ended when the node ends are told so within this time [s].
LAST_WORDS_S = 0.2


class SimNode(GuardedNode):
    """One thread owns physics, another renders copies of it; callbacks hand over to the first.

    Attributes:
        exit_status: Set when the node must end because the simulation has a defect.
    """

    def __init__(self) -> None:
        super().__init__("sim")
        self.exit_status: int | None = None
        contract = load_contract(declare(self, "contract", "fr3", "robot contract: name or path"))
        declare(self, "seed", 0, "scene of the next sim/reset", between=(0, 2**31 - 1), read_only=False)
        spectator_fps = declare(
            self, "spectator_fps", 0.0, "rate of the spectator camera [1/s], 0 for none", between=(0.0, 60.0)
        )
        task = declare(self, "task", "pick", "tasks whose scenes it has: pick, put, push, or several with commas")
        faults = declare_faults(self, contract.sim.faults)
        check_simulation(contract)
        for note in left_open(contract.urdf_path):
            self.get_logger().warning(note)
        self._robot = SimRobot.of(contract, faults, tasks_named(task))
        self._robot.reset(self.get_parameter("seed").value)
        self._base_frame = base_frame(contract)
        self._contacts = self.create_publisher(MarkerArray, CONTACTS_TOPIC, 10)
        self._lock = threading.Lock()  # physics state: simulation thread and reset service
        self._time = SteadyTime()
        self._drivers = SimDrivers(self, contract, self._robot, self._tell_dropped, self._time.now_ns)
        self._cameras = SimCameras(self, contract, self._robot, faults, self._time, spectator_fps)
        self._jobs = self._make_jobs(contract)
        self.create_service(Trigger, "sim/reset", self._reset)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="physics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the simulation, the action servers, and the thread of the cameras, which releases its rendering context."""
        self._ending.set()
        self._thread.join(timeout=2.0)
        if self._drivers.abort("the simulator has ended"):
            self._answer()
        self._drivers.destroy()
        self._cameras.close()

    def _answer(self) -> None:
        """Give the executor, which spins no more, the time to send the results of goals."""
        end_s = time.monotonic() + LAST_WORDS_S
        while rclpy.ok(context=self.context) and (left_s := end_s - time.monotonic()) > 0.0:
            self.executor.spin_once(timeout_sec=left_s)

    def _make_jobs(self, contract: RobotContract) -> list[list]:
        """[period in steps, next due step, function of the stamp] of everything that is published."""
        objects = self.create_publisher(MarkerArray, OBJECTS_TOPIC, 10)
        jobs = [[_steps(OBJECTS_RATE_HZ), 0, lambda stamp_ns: objects.publish(self._objects(stamp_ns))]]
        jobs += [[_steps(rate_hz), 0, publish] for rate_hz, publish in publications(self, contract, self._robot)]
        jobs += [[_steps(rate_hz), 0, expose] for rate_hz, expose in self._cameras.exposures()]
        return jobs

    def _run(self) -> None:
        try:
            self._simulate()
        except Exception as error:
            self.get_logger().error("".join(traceback.format_exception(error)))
            self.exit_status = 1

    def _simulate(self) -> None:
        # Making the OpenGL context can take a second, which real time must not lose.
        self._cameras.wait_until_ready()
        start_ns, step, due = self._time.now_ns(), 0, 0
        while not self._ending.is_set():
            stamp_ns = start_ns + due * STEP_NS
            lag_ns = self._time.now_ns() - stamp_ns
            if lag_ns > MAX_LAG_NS:
                self.get_logger().warning(
                    f"physics is {lag_ns / 1e9:.2f} s behind real time; it loses that time", throttle_duration_sec=5.0
                )
                due += lag_ns // STEP_NS
                stamp_ns = start_ns + due * STEP_NS
            if self._time.wait_until(stamp_ns, self._ending):
                break
            self._cameras.check()
            with self._lock:
                if rclpy.ok(context=self.context):
                    self._publish_due(step, stamp_ns)
                self._drivers.take(stamp_ns)
                self._drivers.drive(stamp_ns, STEP_NS / 1e9)
                self._robot.step(STEP_NS / 1e9, self._drivers.references(stamp_ns + STEP_NS))
                self._drivers.watch(stamp_ns + STEP_NS)
                contacts = self._robot.contacts()
            if contacts and rclpy.ok(context=self.context):
                self._contacts.publish(contact_markers(contacts, stamp_ns + STEP_NS, self._base_frame))
            step, due = step + 1, due + 1

    def _publish_due(self, step: int, stamp_ns: int) -> None:
        for job in self._jobs:
            if step >= job[1]:
                job[1] += job[0]
                job[2](stamp_ns)

    def _tell_dropped(self, reason: str | BeingHError) -> None:
        self.get_logger().error(f"dropped a command: {reason}", throttle_duration_sec=1.0)

    def _objects(self, stamp_ns: int) -> MarkerArray:
        """The cubes, named by their colour, and the things beside them."""
        edge = self._robot.layout.cube_m
        told = {
            colour: (Marker.CUBE, Thing(*pose, (edge,) * 3, CUBE_COLOURS[colour]))
            for colour, pose in self._robot.objects().items()
        }
        for name, thing in self._robot.things().items():
            told[name] = (Marker.CUBE if name == "drawer" else Marker.CYLINDER, thing)
        message = MarkerArray()
        for index, (name, (kind, thing)) in enumerate(told.items()):
            marker = Marker(ns=name, id=index, type=kind, action=Marker.ADD)
            marker.header.frame_id, marker.header.stamp = self._base_frame, ns_to_stamp(stamp_ns)
            x, y, z = map(float, thing.position)
            marker.pose.position = Point(x=x, y=y, z=z)
            w, x, y, z = map(float, thing.quaternion)
            marker.pose.orientation = Quaternion(w=w, x=x, y=y, z=z)
            marker.scale.x, marker.scale.y, marker.scale.z = map(float, thing.size)
            marker.color.r, marker.color.g, marker.color.b, marker.color.a = map(float, thing.colour)
            message.markers.append(marker)
        return message

    def _reset(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Arm at home, new cubes by the `seed` parameter, no trajectory. The controller needs its own reset after."""
        seed = self.get_parameter("seed").value
        with self._lock:
            self._robot.reset(seed)
            self._drivers.reset()
        response.success, response.message = True, f"scene of seed {seed}"
        return response


def _steps(rate_hz: float) -> float:
    return 1e9 / STEP_NS / rate_hz


def main(args=None) -> int:
    """Entry point."""
    raise_priority()
    return run_node(SimNode, "sim", args)


if __name__ == "__main__":
    sys.exit(main())
