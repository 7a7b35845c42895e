"""Webhooks, manual tasks, the audit log."""
