"""The fault harness `beingh soak`: real nodes, disturbed wires, killed processes, and an onlooker that judges."""
