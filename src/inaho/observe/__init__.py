"""Metrics, alerts and the audit log."""
