"""Payments, retries, refund outcomes, disputes, saved methods and reconciliation."""
