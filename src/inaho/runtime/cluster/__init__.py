"""What a process sees of its cluster: `join`, `connect`, `Cluster`, the extension of an actor system.

It imports every other room. Only `inaho` itself, `cli` and `testing` import from it.
"""
