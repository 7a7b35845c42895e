"""Carts, pricing and checkouts."""
