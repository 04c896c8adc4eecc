"""The first version of a contract, from what a URDF (and an SRDF) says: `beingh robots new`."""
