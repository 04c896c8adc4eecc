"""Topics of ours that several rooms name, relative to the namespace, and what their names become in one."""

# The paths of the end effectors for RViz.
PATHS_TOPIC = "markers/eef_path"
# The robot where the plan ends, and the controller's state in words.
GHOST_TOPIC, WORDS_TOPIC = "markers/ghost", "markers/state"
# Joint states in the URDF's words, for the robot state publisher.
JOINTS_TOPIC = "markers/joint_states"
# Of the simulator.
OBJECTS_TOPIC, CONTACTS_TOPIC = "sim/objects", "sim/contacts"


def in_namespace(topic: str, namespace: str) -> str:
    """The full name of a topic for nodes in a namespace ("" for the root), as the middleware resolves it."""
    return topic if topic.startswith("/") else "/" + "/".join(filter(None, (namespace.strip("/"), topic)))
