"""Being-H without ROS: model, policy, robot contract, real-time chunk commitment, training."""
