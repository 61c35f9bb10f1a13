"""Bytes between processes: the transport interface, TCP, TLS, and the places of unauthenticated connections.

It imports only `local`. `connections` and above may import from it.
"""
