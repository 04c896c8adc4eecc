"""Replay evaluation: bags through the real policy and controller nodes, where no robot can receive them."""
