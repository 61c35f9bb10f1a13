"""Drives the control plane on asyncio: its timer, reports of connections, leaving, and the gateway of a client.

It imports `messages`, `reminders` and the rooms below. `node` and above may import from it.
"""
