"""The mail gateways' input."""

from __future__ import annotations

from models.base import Record


class EmailMessage(Record):
    """`id` is ours: the provider repeats it in its events."""

    id: str
    to: str
    subject: str
    text: str
    html: str
