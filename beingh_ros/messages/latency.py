"""The topic `policy/latency`: how long one chunk took."""

from __future__ import annotations

from std_msgs.msg import Float32MultiArray, MultiArrayDimension, MultiArrayLayout

FIELDS = ("inference_ms", "latency_ms")


def latency_message(inference_ms: float, latency_ms: float) -> Float32MultiArray:
    """What a chunk took: the policy's call, and from the time of its observation until it was published [ms]."""
    dimension = MultiArrayDimension(label=",".join(FIELDS), size=len(FIELDS), stride=1)
    return Float32MultiArray(layout=MultiArrayLayout(dim=[dimension]), data=[inference_ms, latency_ms])
