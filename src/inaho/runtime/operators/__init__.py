"""What people ask of a cluster and do with it: reports, explanations, operations, the feed of events.

It attaches to a node from above. `runtime.cluster` and `cli` may import from it.
"""
