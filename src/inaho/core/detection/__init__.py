"""Who does not answer: probes, suspicions, evidence from connections, our own health."""
