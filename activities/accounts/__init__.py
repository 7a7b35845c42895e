"""Accounts: identity and access."""
