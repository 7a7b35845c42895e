"""By which an address is one account, and from where guesses count together."""

from __future__ import annotations

import pytest

from models.accounts.accounts import account_key, address_range, network_of


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


def test_an_address_is_one_account_however_it_is_cased():
    assert account_key("Ada@Example.com") == account_key("aDA@eXAMPLE.COM")
    assert account_key("straße@example.com") == account_key("STRASSE@EXAMPLE.COM")
    assert account_key("ada@example.com") != account_key("adb@example.com")
    assert b"ada" not in account_key("ada@example.com")
