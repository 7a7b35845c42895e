"""Catalogue: products and stock."""
