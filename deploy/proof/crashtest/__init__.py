"""Buyers, a killer, and the question whether the shop kept its word."""
