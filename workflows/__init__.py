"""Deterministic stories, one business process a file."""
