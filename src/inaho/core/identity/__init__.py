"""Names of grains, the partitions that they hash to, their owners, and a cache of where they are active."""
