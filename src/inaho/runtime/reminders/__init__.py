"""Durable reminders: the keeper of each shard, and the calls between a grain and its keeper.

It imports `calls` and the rooms below. `control` and above may import from it.
"""
