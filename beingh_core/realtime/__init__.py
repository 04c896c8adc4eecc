"""Chunks, ticks and commitment between policy and controller (UAC). Needs numpy only."""
