"""Authenticated connections between nodes: handshakes, dialled and accepted connections, and their frames.

It imports `activation` and the rooms below. `placement` and above may import from it.
"""
