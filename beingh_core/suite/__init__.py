"""Closed-loop experiments in simulation: `beingh suite`."""
