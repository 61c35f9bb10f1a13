"""Names of grains, the partitions that they hash to, and where an activation is reached."""
