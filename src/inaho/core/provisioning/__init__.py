"""Reserved: topology from outside, such as descriptors, snapshots, provider health and fail-over."""
