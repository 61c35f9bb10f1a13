"""Bytes only: frames, codec, handshake and schemas, with their limits."""
