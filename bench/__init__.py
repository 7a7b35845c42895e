"""Benchmarks of a purchase."""
