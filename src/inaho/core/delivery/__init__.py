"""The state of each remote authority, and the messages that wait for one that is away."""
