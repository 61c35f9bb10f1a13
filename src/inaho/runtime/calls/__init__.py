"""The caller's side of a call: references, resolving, retries, order, streams, one-way calls.

It imports `freshness` and the rooms below. `messages`, `reminders` and above may import from it.
"""
