"""Judging what a robot did: success of an episode, what went over the wire, and the report of a run."""
