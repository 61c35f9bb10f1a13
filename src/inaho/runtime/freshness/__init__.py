"""Keeps answers from being older than what was saved elsewhere (decisions 0029 and 0030).

It imports `placement` and the rooms below. `calls` and above may import from it.
"""
