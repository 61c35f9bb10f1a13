"""Topology from outside: runs the providers of a node, and passes what they list to placement, partitions and remoting.

It imports `control`, `connections` and `local`. `node` and above may import from it.
"""
