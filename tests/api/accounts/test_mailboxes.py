"""Two mailboxes that Unicode's casefold would merge are two people; two spellings of one domain are one."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from models.accounts.access import Role
from models.accounts.accounts import email_key
from models.db.migrate import downgrade, upgrade
from models.ids import new_id
from tests.api.accounts.test_registration import settled
from tests.fixtures.mailbox import Mailbox
from tests.fixtures.people import member

# How one address is written, and another person's that looks like it.
TWINS = {
    "domain": ("anna@strasse-{}.example.com", "anna@straße-{}.example.com"),
    "local part": ("strasse.{}@example.com", "straße.{}@example.com"),
    "long s": ("sam.{}@example.com", "ſam.{}@example.com"),
    "ligature": ("fin.{}@example.com", "ﬁn.{}@example.com"),
}
twins = pytest.mark.parametrize(("mine", "other"), TWINS.values(), ids=TWINS)


@pytest.fixture
def pair():
    """Both addresses, of this test alone."""
    number = uuid.uuid4().hex[:10]
    return lambda *addresses: [address.format(number) for address in addresses]


@twins
def test_an_order_is_not_shown_to_the_twin(shop, pair, mine, other):
    mine, other = pair(mine, other)
    guest = shop.visitor()
    guest.email = mine
    guest.add()
    guest.prepare()
    order = guest.buy()["id"]
    twin = member(shop, email=other)
    twin.login()
    assert twin.call("GET", "/v1/orders").json()["items"] == []
    owner = member(shop, email=mine)
    owner.login()
    assert [each["id"] for each in owner.call("GET", "/v1/orders").json()["items"]] == [order]


@twins
def test_each_registers_and_gets_their_own_mail(shop, pair, mine, other):
    first, second = map(Mailbox, [shop, shop], pair(mine, other))
    first.begin()
    assert second.register().status_code == 202
    assert second.confirm(second.token()).status_code == 200
    settled(shop)
    assert first.mails("already have") == second.mails("already have") == []


@twins
def test_an_invitation_goes_to_whom_it_names(shop, pair, mine, other):
    mine, other = pair(mine, other)
    member(shop, email=other)
    admin = member(shop, role=Role.ADMIN)
    admin.login()
    answer = admin.call("POST", "/v1/staff/invitations", {"email": mine, "role": "support"})
    assert answer.status_code == 202
    assert Mailbox(shop, mine).token("you are invited")
    assert Mailbox(shop, other).mails("you are invited") == []


def test_a_domain_in_either_alphabet_is_one(shop, pair):
    unicode, ascii_ = pair("anna@straße-{}.example.com", "anna@xn--strae-{}-oqa.example.com")
    ascii_ = f"anna@{email_key(unicode).partition('@')[2]}"
    reader = Mailbox(shop, unicode)
    reader.begin()
    assert Mailbox(shop, ascii_).login().status_code == 200
    assert Mailbox(shop, ascii_.upper()).login().status_code == 200


def test_the_migration_takes_merged_keys_apart_and_names_what_it_leaves(fresh_database_url, capsys):
    upgrade(fresh_database_url)
    downgrade(fresh_database_url, "0010")
    engine = create_engine(fresh_database_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    insert = text("INSERT INTO users (id, email, email_key, name, role) VALUES (:id, :email, :key, '', 'customer')")
    people = {
        "plain": ("Ada@example.com", "ada@example.com"),
        "merged": ("straße@example.com", "strasse@example.com"),
        "taken": ("anna@straße.example.com", "anna@strasse.example.com"),
        "ascii": ("anna@xn--strae-oqa.example.com", "anna@xn--strae-oqa.example.com"),
    }
    ids = {name: new_id("usr") for name in people}
    with engine.connect() as connection:
        for name, (email, key) in people.items():
            connection.execute(insert, {"id": ids[name], "email": email, "key": key})
    upgrade(fresh_database_url)
    with engine.connect() as connection:
        keys = dict(connection.execute(text("SELECT id, email_key FROM users")).all())
    assert keys == {
        ids["plain"]: "ada@example.com",
        ids["merged"]: "straße@example.com",
        ids["taken"]: "anna@strasse.example.com",
        ids["ascii"]: "anna@xn--strae-oqa.example.com",
    }
    assert ids["taken"] in capsys.readouterr().out
