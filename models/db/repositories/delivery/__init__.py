"""Outbox, messages, webhook events, stored responses, manual tasks, leases and the audit log."""
