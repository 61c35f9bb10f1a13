"""Simulates hundreds of control planes without the runtime, and checks what must hold of them."""
