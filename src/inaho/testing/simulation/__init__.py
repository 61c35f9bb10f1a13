"""One thread, virtual time, a seeded network: the ground of `SimCluster`. It knows nothing of nodes or grains."""
