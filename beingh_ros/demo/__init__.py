"""The demo: episodes in simulation, judged and reported."""
