"""Composition root of the HTTP interface."""
