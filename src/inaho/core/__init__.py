"""The control plane as pure state machines: they get the time and an input, and return effects."""
