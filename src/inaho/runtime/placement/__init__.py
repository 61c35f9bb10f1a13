"""Which node may activate which identity, and how a partition moves between nodes.

It imports `connections` and the rooms below. `freshness` and above may import from it.
"""
