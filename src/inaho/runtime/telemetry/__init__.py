"""The metrics of a node, which exporters read: its counters, and the values of all instruments.

It attaches to a node from above. `runtime.cluster` may import from it.
"""
