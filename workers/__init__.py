"""Composition root of the worker processes."""
