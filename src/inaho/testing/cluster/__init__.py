"""`SimCluster`: whole nodes on `testing.simulation`. It also imports `testing.storage` for faults."""
