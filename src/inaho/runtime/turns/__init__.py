"""One call at one activation: its turn, the Task that runs it, the chain of calls it belongs to, and its stream.

It imports `grains`, `transport` and `local`. `activation` and above may import from it.
"""
