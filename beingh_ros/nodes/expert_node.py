"""The scripted expert as a policy node, in simulation: it is told on sim/objects where cubes and bowl are.

Everything but the policy is `policy_node`'s: cameras, gate, locked prefix, chunks. Nobody publishes sim/objects on a real
robot, so there it makes no chunk and says why.
"""

from __future__ import annotations

from beingh_ros.nodes.quiet_start import end_quietly_while_importing

end_quietly_while_importing(__name__)

import sys

import numpy as np
from rclpy.qos import QoSProfile
from scipy.spatial.transform import Rotation
from visualization_msgs.msg import Marker, MarkerArray

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.sim.expert_policy import ExpertPolicy
from beingh_core.sim.grasp import Cube
from beingh_core.sim.scene import CUBE_COLOURS
from beingh_core.tasks import BOWL
from beingh_ros.messages.conversions import stamp_to_ns
from beingh_ros.messages.topics import OBJECTS_TOPIC
from beingh_ros.nodes.policy_node import PolicyNode
from beingh_ros.nodes.runtime import declare, run_node


class ExpertNode(PolicyNode):
    """A policy node without a model."""

    def _declare(self) -> None:
        super()._declare()
        declare(self, "inference_s", 0.05, "least time of an answer, as a model takes its time [s]", between=(0.0, 5.0))

    def _load_policy(self, contract: RobotContract, checkpoint: str, *, url: str = "", **_settings) -> ExpertPolicy:
        if checkpoint or url:
            raise BeingHError(
                f"the expert takes neither a checkpoint nor a policy server ({checkpoint or url})",
                where="parameters checkpoint and policy_url",
                remedy="leave them empty, or start policy_node",
            )
        self._expert = ExpertPolicy(contract, self.get_parameter("inference_s").value)
        return self._expert

    def _connect(self) -> None:
        super()._connect()
        self._entities.append(
            self.create_subscription(MarkerArray, OBJECTS_TOPIC, self._on_objects, QoSProfile(depth=5))
        )

    def _on_objects(self, message: MarkerArray) -> None:
        cubes = {one.ns: _cube(one) for one in message.markers if one.ns in (*CUBE_COLOURS, BOWL) and _is_usable(one)}
        if cubes:
            self._expert.cubes.push(stamp_to_ns(message.markers[0].header.stamp), cubes)


def _is_usable(marker: Marker) -> bool:
    place, turn = marker.pose.position, marker.pose.orientation
    numbers = np.array([place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w, marker.scale.z])
    turned = float(np.linalg.norm(numbers[3:7]))
    kind = Marker.CYLINDER if marker.ns == BOWL else Marker.CUBE
    return marker.type == kind and bool(np.isfinite(numbers).all()) and turned > 0.5 and numbers[7] > 0.0


def _cube(marker: Marker) -> Cube:
    place, turn = marker.pose.position, marker.pose.orientation
    rotation = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
    return Cube(centre=np.array([place.x, place.y, place.z]), rotation=rotation, size_m=float(marker.scale.z))


def main(args=None) -> int:
    """Entry point."""
    return run_node(ExpertNode, "policy", args)


if __name__ == "__main__":
    sys.exit(main())
