"""Another address: asked for with the password, in force when its mailbox has confirmed, told to the old one."""

from __future__ import annotations

import pytest

from tests.fixtures.mailbox import Mailbox, new_address
from tests.fixtures.people import PASSWORD, member
from tests.fixtures.shop import at_once, eventually, slug

NEW_ADDRESS = "confirm your new e-mail address"


@pytest.fixture
def owner(shop):
    person = member(shop)
    person.login()
    return person


@pytest.fixture
def old(shop, owner):
    return Mailbox(shop, owner.email)


@pytest.fixture
def new(shop):
    return Mailbox(shop)


def ask(owner, email, password=PASSWORD):
    return owner.call("POST", "/v1/me/email", {"email": email, "password": password})


class TestAChange:
    def test_from_asking_to_the_new_address(self, shop, owner, old, new):
        answer = ask(owner, new.email)
        assert (answer.status_code, answer.json()) == (202, {"status": "verification_sent"})
        told = old.mail("a change of your e-mail address")
        assert new.email not in told["text"]
        assert "token=" not in told["text"]
        token = new.token(NEW_ADDRESS)
        assert old.login().status_code == 200  # still
        assert new.login().status_code == 401
        answer = new.confirm(token)
        assert answer.status_code == 200
        assert answer.json()["user"]["email"] == new.email
        assert answer.json()["user"]["id"] == owner.id
        old.mail("your e-mail address was changed")
        assert new.login().status_code == 200
        assert old.login().status_code == 401
        assert shop.get("/v1/me", owner.headers).status_code == 200  # signed in as before
        actions = [row.action for row in shop.sql("SELECT action FROM audit_log WHERE subject = :id", id=owner.id)]
        assert {"address.change_requested", "address.changed"} <= set(actions)

    def test_only_the_case_of_letters(self, shop, owner):
        shouted = Mailbox(shop, owner.email.replace("member", "Member"))
        ask(owner, shouted.email)
        answer = shouted.confirm(shouted.token(NEW_ADDRESS))
        assert answer.json()["user"]["email"] == shouted.email

    def test_a_newer_one_replaces_it(self, shop, owner, new):
        other = Mailbox(shop)
        ask(owner, new.email)
        first = new.token(NEW_ADDRESS)
        ask(owner, other.email)
        second = other.token(NEW_ADDRESS)
        assert new.confirm(first).status_code == 410
        assert other.confirm(second).status_code == 200

    def test_who_has_a_second_factor_is_not_signed_in_by_it(self, shop, owner, new):
        ask(owner, new.email)
        token = new.token(NEW_ADDRESS)
        shop.sql("UPDATE users SET totp_secret = 'x', totp_confirmed_at = now() WHERE id = :id", id=owner.id)
        answer = new.confirm(token)
        assert (answer.status_code, answer.json()) == (200, {"status": "confirmed"})

    def test_a_reset_that_went_to_the_old_address_is_gone(self, shop, owner, old, new):
        ask(owner, new.email)
        old.forgot()
        reset = old.token("choose a new password")
        assert new.confirm(new.token(NEW_ADDRESS)).status_code == 200
        assert old.reset(reset, "an entirely different phrase").status_code == 410


class TestWhatIsRefused:
    def test_a_wrong_password(self, shop, owner, new):
        answer = ask(owner, new.email, "not the password at all")
        assert (answer.status_code, slug(answer)) == (401, "invalid-credentials")
        assert shop.sql("SELECT 1 FROM links WHERE user_id = :id", id=owner.id) == []

    def test_guessing_is_slowed_down(self, shop, owner, new):
        answers = [ask(owner, new.email, f"guess number {n}") for n in range(shop.settings.login_free_failures + 2)]
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) >= 1

    def test_nobody_and_machines(self, shop, new):
        assert shop.post("/v1/me/email", {"email": new.email, "password": PASSWORD}).status_code == 401

    @pytest.mark.parametrize("email", ["", "x", "a@example.com\r\nBcc: b@example.com"])
    def test_what_is_no_address(self, owner, email):
        assert ask(owner, email).status_code == 422

    def test_mails_an_hour_are_bounded(self, shop, owner, old):
        readers = [Mailbox(shop) for _ in range(shop.settings.account_mails_per_hour + 3)]
        assert {ask(owner, reader.email).status_code for reader in readers} == {202}
        eventually(lambda: not shop.sql("SELECT 1 FROM outbox WHERE topic LIKE 'account%' OR topic LIKE 'link.%'"))
        links = shop.sql("SELECT state FROM links WHERE user_id = :id ORDER BY number", id=owner.id)
        assert len(links) == shop.settings.account_mails_per_hour
        assert [link.state for link in links].count("live") == 1
        assert sum(len(reader.mails()) for reader in readers) <= shop.settings.account_mails_per_hour

    def test_a_crowd_can_not_flood_one_mailbox(self, shop, new):
        crowd = [member(shop) for _ in range(shop.settings.account_mails_per_hour + 2)]
        for person in crowd:
            person.login()
            assert ask(person, new.email).status_code == 202
        assert len(shop.sql("SELECT 1 FROM links WHERE email = :email", email=new.email)) == (
            shop.settings.account_mails_per_hour
        )


class TestAnAddressThatIsTaken:
    def test_the_same_answer_and_then_410(self, shop, owner):
        other = member(shop)
        taken = Mailbox(shop, other.email)
        answer = ask(owner, other.email)
        assert (answer.status_code, answer.json()) == (202, {"status": "verification_sent"})
        answer = taken.confirm(taken.token(NEW_ADDRESS))
        assert (answer.status_code, slug(answer)) == (410, "gone")
        assert other.try_login().status_code == 200
        assert owner.try_login().status_code == 200

    def test_two_who_want_the_same_at_once(self, shop, new):
        rivals = [member(shop) for _ in range(2)]
        for rival in rivals:
            rival.login()
            ask(rival, new.email)
        tokens = [new.token(NEW_ADDRESS, number=number) for number in (1, 2)]
        answers = at_once([lambda token=token: new.confirm(token) for token in tokens])
        assert sorted(answer.status_code for answer in answers) == [200, 410]
        assert len(shop.sql("SELECT 1 FROM users WHERE email_key = :key", key=new.email)) == 1

    def test_a_registration_that_was_never_confirmed_gives_way(self, shop, owner, new):
        """Else anybody could keep an address from its owner by registering it."""
        new.register()
        registered = new.token("confirm your e-mail address")
        ask(owner, new.email)
        assert new.confirm(new.token(NEW_ADDRESS)).status_code == 200
        assert new.confirm(registered).status_code == 410
        assert [row.id for row in shop.sql("SELECT id FROM users WHERE email_key = :key", key=new.email)] == [owner.id]

    def test_the_old_address_is_free_again(self, shop, owner, old, new):
        ask(owner, new.email)
        assert new.confirm(new.token(NEW_ADDRESS)).status_code == 200
        assert old.begin()["user"]["id"] != owner.id


def test_an_address_is_not_changed_by_registering_it(shop, owner):
    """Mass assignment by another door."""
    assert (
        owner.call("POST", "/v1/me/email", {"email": new_address(), "password": PASSWORD, "role": "admin"}).status_code
        == 422
    )
