"""Payments, retries, refunds, disputes, saved methods and reconciliation."""
