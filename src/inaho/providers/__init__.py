"""Reserved: providers of topology, for a list of members that does not come from gossip alone."""
