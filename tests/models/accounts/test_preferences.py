"""Who is told what, and how."""

from __future__ import annotations

import pytest

from models.accounts.preferences import Channel, Topic, differences, merged, view, wants
from models.errors import InvalidRequest


def test_marketing_takes_consent_and_the_rest_is_told():
    assert view({}) == {
        channel: {"orders": True, "payments": True, "marketing": False, "security": True}
        for channel in ("email", "sms", "push", "realtime")
    }


def test_only_what_is_named_changes():
    chosen = merged({"email": {"orders": False}}, {"email": {"marketing": True}, "sms": {}})
    assert chosen == {"email": {"orders": False, "marketing": True}}
    assert not wants(chosen, Channel.EMAIL, Topic.ORDERS)
    assert wants(chosen, Channel.EMAIL, Topic.MARKETING)
    assert not wants(chosen, Channel.SMS, Topic.MARKETING)


def test_a_choice_can_be_taken_back():
    assert merged({"push": {"marketing": True}}, {"push": {"marketing": False}}) == {"push": {"marketing": False}}


def test_security_cant_be_turned_off():
    with pytest.raises(InvalidRequest) as refused:
        merged({}, {"email": {"security": False, "orders": False}, "push": {"security": False}})
    assert [e["pointer"] for e in refused.value.extra["errors"]] == ["/email/security", "/push/security"]
    assert merged({}, {"email": {"security": True}}) == {"email": {"security": True}}


def test_nor_by_a_row_that_says_so():
    assert wants({"email": {"security": False}}, Channel.EMAIL, Topic.SECURITY)


def test_what_was_turned_on_or_off_is_what_the_audit_log_keeps():
    before, after = {"email": {"orders": True}}, {"email": {"orders": False, "payments": True, "marketing": True}}
    assert differences(before, after) == {"email.orders": False, "email.marketing": True}
    assert differences(after, after) == {}
