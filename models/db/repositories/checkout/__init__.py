"""Carts, prices, and the way to an order."""
