"""Failure detection: probes, suspicions, evidence from connections, the health of this node."""
