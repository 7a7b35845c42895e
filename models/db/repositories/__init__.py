"""Queries, one file an aggregate."""
