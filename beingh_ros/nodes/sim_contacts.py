"""What the simulated arm touches, as arrows for RViz and for the judge of a fault run.

An arrow begins where a link touches something and points along the force on the link, 1 mm for each newton; its
namespace is `LINK|OTHER`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from geometry_msgs.msg import Point
from visualization_msgs.msg import Marker, MarkerArray

from beingh_core.sim import Contact
from beingh_ros.messages.conversions import ns_to_duration, ns_to_stamp

NEWTONS_PER_M = 1000.0
LIFETIME_NS = 50_000_000


def contact_markers(contacts: Sequence[Contact], stamp_ns: int, frame: str) -> MarkerArray:
    """All contacts of one moment."""
    message = MarkerArray()
    for index, contact in enumerate(contacts):
        marker = Marker(ns=f"{contact.link}|{contact.other}", id=index, type=Marker.ARROW, action=Marker.ADD)
        marker.header.frame_id, marker.header.stamp = frame, ns_to_stamp(stamp_ns)
        marker.pose.orientation.w = 1.0
        tip = contact.position + contact.force / NEWTONS_PER_M
        marker.points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in (contact.position, tip)]
        marker.scale.x, marker.scale.y = 0.008, 0.016
        marker.color.r, marker.color.g, marker.color.b, marker.color.a = 1.0, 0.8, 0.1, 1.0
        marker.lifetime = ns_to_duration(LIFETIME_NS)
        message.markers.append(marker)
    return message


def contact_force(marker: Marker) -> float:
    """Force [N] that an arrow stands for; 0 for a marker that is none."""
    if len(marker.points) != 2:
        return 0.0
    tail, tip = marker.points
    return NEWTONS_PER_M * math.dist((tail.x, tail.y, tail.z), (tip.x, tip.y, tip.z))
