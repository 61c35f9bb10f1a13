"""The activations of one kind on one node: how they start, keep state, run timers, and end.

It imports `turns` and the rooms below. `connections` and above may import from it.
"""
