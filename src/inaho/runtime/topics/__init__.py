"""Topics: their definitions, publishing and subscribing, and messages at most once from node to node.

It imports `topic_logs` and the rooms below. `control` and above may import from it.
"""
