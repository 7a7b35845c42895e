"""Accounts, sessions, staff, API keys."""
