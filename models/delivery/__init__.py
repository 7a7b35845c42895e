"""Outbox events, messages, stored responses and manual tasks."""
