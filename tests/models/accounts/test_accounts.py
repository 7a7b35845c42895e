"""By which an address is one account, and from where guesses count together."""

from __future__ import annotations

import pytest

from models.accounts.accounts import account_key, address_range, email_key, network_of


@pytest.mark.parametrize(
    ("address", "counted_together", "caller"),
    [
        ("203.0.113.7", "203.0.113.0/24", "203.0.113.7/32"),
        ("203.0.113.255", "203.0.113.0/24", "203.0.113.255/32"),
        ("::ffff:203.0.113.7", "203.0.113.0/24", "203.0.113.7/32"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/64"),
        ("", "", ""),
        ("unix:", "unix:", "unix:"),
        ("203.0.113.7:80", "203.0.113.7:80", "203.0.113.7:80"),
        ("x" * 300, "x" * 100, "x" * 100),
    ],
)
def test_the_network_of_a_caller(address, counted_together, caller):
    assert address_range(address) == counted_together
    assert network_of(address, ipv4=32, ipv6=64) == caller


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada@Example.com", "aDA@eXAMPLE.COM"),
        ("ada@STRASSE.example.com", "ada@strasse.example.com"),
        ("ada@straße.example.com", "ada@xn--strae-oqa.example.com"),
        ("ada@stra\u00dfe.EXAMPLE.com", "ada@XN--STRAE-OQA.example.com"),
        ("zoe\u0301@example.com", "zo\u00e9@example.com"),  # composed or not
    ],
)
def test_one_mailbox_is_one_key(one, other):
    assert email_key(one) == email_key(other)
    assert account_key(one) == account_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ada@example.com", "adb@example.com"),
        ("ada@straße.example.com", "ada@strasse.example.com"),  # two owners
        ("straße@example.com", "strasse@example.com"),
        ("ſam@example.com", "sam@example.com"),
        ("ﬁn@example.com", "fin@example.com"),
        ("İda@example.com", "ida@example.com"),
        ("ada@exam\u0440le.com", "ada@example.com"),  # Cyrillic
    ],
)
def test_two_mailboxes_are_two_keys(one, other):
    assert email_key(one) != email_key(other)


@pytest.mark.parametrize(
    "text", ["", "ada", "@", "ada@", "ada@..", "ada@-x-.é", "ada@" + "é" * 300, "a@b@ex\u0301.com"]
)
def test_what_is_no_address_has_a_key_too(text):
    assert email_key(text) == email_key(text)


def test_an_account_s_key_hides_its_address():
    assert b"ada" not in account_key("ada@example.com")
