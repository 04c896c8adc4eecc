"""Segments, subtask texts and success of recorded episodes: proposed, looked at by a person, accepted, exported."""
