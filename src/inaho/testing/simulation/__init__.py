"""One thread, virtual time, a seeded network: the base of `SimCluster`. It knows nothing of nodes or grains."""
