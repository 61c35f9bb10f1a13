"""The state of each remote authority, and the queue of messages to it."""
