"""Messages at least once: the keeper of each partition of a log, publishing to it and consuming from it.

It imports `calls` and the rooms below. `topics` and above may import from it.
"""
