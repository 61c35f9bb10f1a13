"""Metrics, tracing, alerts and the audit log."""
