"""Inference as fast as the machine allows: everything before the action tokens once, the rest from prepared weights."""

from beingh_core.model.engine.engine import Engine, Started

__all__ = ["Engine", "Started"]
