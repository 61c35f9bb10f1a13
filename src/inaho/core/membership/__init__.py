"""The members of the cluster: the merged table, joining, leaving, removal, and the topology snapshots."""
