"""Temporal activities: each is one idempotent side effect; a class per capability."""
