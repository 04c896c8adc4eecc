"""A policy on another machine: `PolicyServer` where the model is, `RemotePolicy` where the robot is.

`client` and `protocol` import no torch, so a robot's computer needs none.
"""
