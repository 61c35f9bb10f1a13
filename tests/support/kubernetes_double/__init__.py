"""A double of the Kubernetes API server: a program of its own that follows the documented rules of the API.

`python -m support.kubernetes_double` serves the API on one port and the test's orders on another. No binary of the real
server can be had for tests. The rules are those of "Kubernetes API Concepts" in the documentation of Kubernetes.
"""
