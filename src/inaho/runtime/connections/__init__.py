"""Authenticated connections between nodes: handshakes, dialled and accepted connections, and what they carry.

It imports `activation` and the rooms below. `placement` and above may import from it.
"""
