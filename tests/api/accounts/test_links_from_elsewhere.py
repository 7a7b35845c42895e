"""What a stranger typed never comes into force by the owner's own click."""

from __future__ import annotations

import pytest

from tests.api.accounts.test_login import someone_from
from tests.fixtures.mailbox import PASSWORD, Mailbox, new_address, token_in
from tests.fixtures.people import member
from tests.fixtures.shop import eventually, slug

PLANTED = "a planted pass phrase"
CHOSEN = "chosen behind the link"


def plant(shop, reader, stranger, password=PLANTED):
    """A stranger registers the reader's address."""
    body = {"email": reader.email, "password": password, "name": "Mallory"}
    answer = stranger.post(f"{shop.url}/v1/auth/register", json=body)
    assert answer.status_code == 202, answer.text


def asked_from(shop, reader):
    """Of the live link."""
    rows = shop.sql("SELECT asked_from FROM links WHERE email = :email AND state = 'live'", email=reader.email)
    return rows[0].asked_from if rows else None


@pytest.fixture
def stranger():
    with someone_from(77) as client:
        yield client


class TestARegistration:
    def test_by_a_stranger_alone_needs_a_password_of_the_owner_s(self, shop, stranger):
        reader = Mailbox(shop)
        plant(shop, reader, stranger)
        token = reader.token()
        refused = reader.confirm(token)
        assert (refused.status_code, slug(refused)) == (422, "invalid-request")
        assert refused.json()["errors"][0]["pointer"] == "/password"
        assert reader.login(PLANTED).status_code == 401
        weak = reader.post("/email-verification/confirm", {"token": token, "password": "short"})
        assert (weak.status_code, slug(weak)) == (422, "password-refused")
        begun = reader.post("/email-verification/confirm", {"token": token, "password": CHOSEN})
        assert begun.status_code == 200, begun.text
        assert reader.login(PLANTED).status_code == 401
        assert reader.login(CHOSEN).status_code == 200

    def test_that_comes_after_the_owner_s_does_not_hold(self, shop, stranger):
        reader = Mailbox(shop)
        reader.register()
        reader.token()
        plant(shop, reader, stranger)
        token = reader.token(number=2)
        assert reader.confirm(token).status_code == 422
        assert reader.login(PLANTED).status_code == 401

    def test_that_used_up_the_mails_of_an_hour_does_not_hold(self, shop, stranger):
        """The owner's registration sends no mail then; the stranger's link carries what the owner typed."""
        reader = Mailbox(shop)
        most = shop.settings.account_mails_per_hour
        for number in range(1, most + 1):
            plant(shop, reader, stranger)
            reader.token(number=number)
        stranger_s = asked_from(shop, reader)
        assert reader.register().status_code == 202
        eventually(lambda: asked_from(shop, reader) not in (None, stranger_s))
        assert len(reader.mails("confirm your")) == most
        assert reader.confirm(reader.token(number=most)).json()["user"]["name"] == "Ada Reader"
        assert reader.login(PLANTED).status_code == 401
        assert reader.login(PASSWORD).status_code == 200

    def test_at_the_same_moment_is_not_the_same_click(self, shop, stranger):
        reader = Mailbox(shop)
        plant(shop, reader, stranger)
        reader.register()
        eventually(lambda: asked_from(shop, reader) == "127.0.0.0/24")

        def confirmed():
            return any(reader.confirm(token_in(mail)).status_code == 200 for mail in reader.mails("confirm your"))

        eventually(confirmed)
        assert reader.login(PLANTED).status_code == 401
        assert reader.login(PASSWORD).status_code == 200

    def test_by_the_owner_is_confirmed_where_it_was_made(self, shop):
        assert Mailbox(shop).begin()["user"]["name"] == "Ada Reader"


class TestAChangeOfAddress:
    def test_that_a_stranger_asked_for_gives_them_nothing(self, shop, stranger):
        """The owner of the address follows the link in their mail: no orders change hands, nobody is signed in."""
        victim = Mailbox(shop)
        guest = shop.visitor()
        guest.email = victim.email
        guest.add()
        guest.prepare()
        guest.buy()
        thief = member(shop)
        thief.take(thief.try_login(client=stranger).json())
        asked = stranger.post(
            f"{shop.url}/v1/me/email", json={"email": victim.email, "password": thief.password}, headers=thief.headers
        )
        assert asked.status_code == 202, asked.text
        answer = victim.confirm(victim.token())
        assert (answer.status_code, slug(answer)) == (403, "forbidden")
        assert thief.call("GET", "/v1/orders").json()["items"] == []
        assert thief.call("GET", "/v1/me").json()["email"] == thief.email

    def test_is_confirmed_anywhere_by_the_session_that_asked(self, shop, stranger):
        owner, new = member(shop), new_address()
        owner.take(owner.try_login(client=stranger).json())
        asked = stranger.post(
            f"{shop.url}/v1/me/email", json={"email": new, "password": owner.password}, headers=owner.headers
        )
        assert asked.status_code == 202
        token = Mailbox(shop, new).token()
        answer = owner.call("POST", "/v1/auth/email-verification/confirm", {"token": token})
        assert answer.status_code == 200, answer.text
        assert owner.call("GET", "/v1/me").json()["email"] == new
