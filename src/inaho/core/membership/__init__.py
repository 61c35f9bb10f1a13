"""Who is in the cluster: the merged table, joining, leaving, the topology that others see."""
