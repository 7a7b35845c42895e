"""Refunds, saved payment methods, payment retries, the ledger."""
