"""Composition of one node. Only `runtime.cluster`, `runtime.operators`, `runtime.telemetry` and `testing` import it."""
