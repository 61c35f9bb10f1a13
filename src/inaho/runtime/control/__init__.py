"""Driving the control plane on asyncio: its timer, what connections tell it, leaving, and the gateway of a client.

It imports `messages`, `reminders` and the rooms below. `node` and above may import from it.
"""
