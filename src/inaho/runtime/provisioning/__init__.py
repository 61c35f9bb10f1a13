"""Topology from outside, on one node: runs its providers, and passes what they say to placement, partitions and
remoting.
"""
