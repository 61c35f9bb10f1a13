"""Topology from outside: runs the providers of a node, and passes what they list to placement, partitions and remoting.

What is decided about it is in `core.provisioning`, what speaks to a back end in `providers`. Only rooms above this one
may import it: the control plane gets inputs, and knows no provider.
"""
