"""From streams of observations to chunks."""
