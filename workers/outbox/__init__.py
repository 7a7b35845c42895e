"""Delivery of the outbox: a relay for each consumer."""
