"""Training of Being-H checkpoints."""
