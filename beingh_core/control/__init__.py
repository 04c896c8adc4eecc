"""From chunks to commands: the controller, its ticks, and what sends them."""
