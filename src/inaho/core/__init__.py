"""The control plane as pure state machines: given the time and an input, they return effects."""
