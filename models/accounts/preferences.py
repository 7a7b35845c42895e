"""Notification preferences: a choice for each channel and topic.

Only explicit choices are stored; the rest follows `DEFAULTS`, so a new topic needs no migration. Marketing needs
consent, so it is off by default. Security can't be turned off: an attacker who takes an account over could otherwise
silence its warnings.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from models.errors import InvalidRequest


class Channel(StrEnum):
    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"
    REALTIME = "realtime"


class Topic(StrEnum):
    ORDERS = "orders"
    PAYMENTS = "payments"
    MARKETING = "marketing"
    SECURITY = "security"


Choices = Mapping[str, Mapping[str, bool]]
"""By channel, then by topic; explicit choices only."""

DEFAULTS: Mapping[Topic, bool] = {
    Topic.ORDERS: True,
    Topic.PAYMENTS: True,
    Topic.MARKETING: False,
    Topic.SECURITY: True,
}


def wants(chosen: Choices, channel: Channel, topic: Topic) -> bool:
    """Whether to send notifications of this topic on this channel."""
    if topic is Topic.SECURITY:
        return True
    return chosen.get(channel, {}).get(topic, DEFAULTS[topic])


def view(chosen: Choices) -> dict[str, dict[str, bool]]:
    """Every channel and topic: `{"email": {"orders": true, …}, …}`."""
    return {channel.value: {topic.value: wants(chosen, channel, topic) for topic in Topic} for channel in Channel}


def merged(chosen: Choices, changes: Choices) -> dict[str, dict[str, bool]]:
    """The choices with `changes` applied. Raises InvalidRequest with pointers to the choices that aren't allowed."""
    refused = [
        f"/{channel}/{Topic.SECURITY}" for channel, topics in changes.items() if topics.get(Topic.SECURITY) is False
    ]
    if refused:
        detail = "can't be turned off"
        raise InvalidRequest(
            "Notifications about your account's security can't be turned off",
            errors=[{"pointer": pointer, "detail": detail} for pointer in refused],
        )
    found = {channel: dict(topics) for channel, topics in chosen.items()}
    for channel, topics in changes.items():
        found[channel] = found.get(channel, {}) | dict(topics)
    return {channel: topics for channel, topics in found.items() if topics}


def differences(before: Choices, after: Choices) -> dict[str, bool]:
    """The effective changes, for the audit log: `{"email.marketing": true}`."""
    old, new = view(before), view(after)
    return {
        f"{channel}.{topic}": wanted
        for channel, topics in new.items()
        for topic, wanted in topics.items()
        if old[channel][topic] is not wanted
    }
