"""Carts, prices and checkouts."""
