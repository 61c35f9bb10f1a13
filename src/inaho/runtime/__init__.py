"""The runtime on asyncio: connections, turns, grains, and what users hold of the cluster."""
