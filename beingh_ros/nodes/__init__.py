"""The ROS 2 nodes and what belongs to them alone."""
