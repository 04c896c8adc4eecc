"""Between ROS messages and the containers of the rooms without ROS."""
