"""Delivery: events, messages, stored responses, manual tasks."""
