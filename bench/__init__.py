"""Benchmarks: what a purchase costs, and where it goes."""
