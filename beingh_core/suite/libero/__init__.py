"""LIBERO's tasks for a policy; their environment runs in a process with a Python of its own."""
