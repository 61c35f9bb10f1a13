"""Providers of topology: where the list of members comes from when it is not gossip alone."""
