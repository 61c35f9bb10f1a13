"""A double of Consul for tests: a server program that follows the documented rules of Consul's HTTP interface.

Consul itself cannot be installed where the tests run. The double has what a client of registrations needs: the
key-value store with its indexes, sessions, transactions, blocking queries, access control, and services with TTL
checks. It has one server and one agent in one process. What it adds is `/control/...`, which injects faults, and a
scale for durations, so that a session of 10 s expires in a fraction of a second.

    python -m support.consul_double --port 8500 --state consul.json --scale 0.02

The rules are from the documentation of Consul's interface and from its source; each module names them.
"""
