"""Recorded demonstrations and episodes: writing, reading, statistics."""
