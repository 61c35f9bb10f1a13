"""What exporters read of a node: counters, readings, instruments.

It attaches to a node from above. `runtime.cluster` may import from it.
"""
