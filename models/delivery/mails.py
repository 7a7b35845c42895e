"""A mail to one person, as every gateway takes it."""

from __future__ import annotations

from models.base import Record


class EmailMessage(Record):
    """`id` is ours: the provider carries it and names it in its events."""

    id: str
    to: str
    subject: str
    text: str
    html: str
