"""Deterministic Temporal workflows, one business process a file."""
