"""A forgotten password: one mailed link, a new password, no session left, and the owner told."""

from __future__ import annotations

import pytest

from models.accounts.access import Role
from tests.fixtures.mailbox import Mailbox, token_in
from tests.fixtures.people import PASSWORD, member
from tests.fixtures.shop import at_once, eventually, slug

NEW = "an entirely different phrase"
ABOUT = "choose a new password"


@pytest.fixture
def owner(shop):
    return member(shop)


@pytest.fixture
def mailbox(shop, owner):
    return Mailbox(shop, owner.email)


class TestAReset:
    def test_from_the_form_to_the_new_password(self, shop, owner, mailbox):
        before = owner.login()
        answer = mailbox.forgot()
        assert (answer.status_code, answer.json()) == (202, {"status": "reset_sent"})
        mail = mailbox.mail(ABOUT)
        assert f"{shop.settings.storefront_url}/reset-password?token=" in mail["text"]
        assert "60 minutes" in mail["text"]
        answer = mailbox.reset(token_in(mail), NEW)
        assert (answer.status_code, answer.content) == (204, b"")
        assert shop.get("/v1/me", before).status_code == 401
        assert mailbox.login(PASSWORD).status_code == 401
        assert mailbox.login(NEW).status_code == 200
        told = mailbox.mail("your password was changed")
        assert "token=" not in told["text"]
        actions = [row.action for row in shop.sql("SELECT action FROM audit_log WHERE subject = :id", id=owner.id)]
        assert "password.reset" in actions

    def test_it_opens_an_account_that_guesses_have_closed(self, shop):
        owner = member(shop, must_reset=True)
        mailbox = Mailbox(shop, owner.email)
        assert owner.try_login().status_code == 401
        mailbox.forgot()
        assert mailbox.reset(mailbox.token(ABOUT), NEW).status_code == 204
        assert mailbox.login(NEW).status_code == 200

    def test_it_goes_to_the_address_as_its_owner_writes_it(self, shop, owner):
        Mailbox(shop, owner.email.upper()).forgot(headers={"Host": "evil.example"})
        mail = Mailbox(shop, owner.email).mail(ABOUT)
        assert mail["to"] == [owner.email] or mail["to"] == owner.email
        assert "evil" not in mail["text"] + mail["html"]

    def test_unknown_and_unverified_addresses_get_the_same_answer_and_no_mail(self, shop, mailbox):
        expected = mailbox.forgot()
        waiting = Mailbox(shop)
        waiting.register()
        waiting.mail()
        for reader in (Mailbox(shop), waiting):
            answer = reader.forgot()
            assert (answer.status_code, answer.content) == (expected.status_code, expected.content)
        mailbox.mail(ABOUT)
        eventually(lambda: not shop.sql("SELECT 1 FROM outbox WHERE topic LIKE 'account%' OR topic LIKE 'link.%'"))
        assert Mailbox(shop, waiting.email).mails(ABOUT) == []

    def test_a_new_account_has_no_password_before_its_mail_is_read(self, shop):
        reader = Mailbox(shop)
        reader.register()
        reader.mail()
        (user,) = shop.sql(
            "SELECT password_hash, verified_at, name FROM users WHERE email = :email", email=reader.email
        )
        assert tuple(user) == (None, None, "")


class TestTheLink:
    def test_is_good_once(self, mailbox):
        mailbox.forgot()
        token = mailbox.token(ABOUT)
        assert mailbox.reset(token, NEW).status_code == 204
        again = mailbox.reset(token, "yet another good phrase")
        assert (again.status_code, slug(again)) == (410, "gone")
        assert mailbox.login(NEW).status_code == 200

    def test_two_at_once_use_it_once(self, mailbox):
        mailbox.forgot()
        token = mailbox.token(ABOUT)
        phrases = [f"phrase number {n} of a few" for n in range(4)]
        answers = at_once([lambda phrase=phrase: mailbox.reset(token, phrase) for phrase in phrases])
        assert sorted(answer.status_code for answer in answers) == [204, 410, 410, 410]
        (winner,) = [phrase for phrase, answer in zip(phrases, answers, strict=True) if answer.status_code == 204]
        assert mailbox.login(winner).status_code == 200

    def test_a_newer_one_replaces_it(self, mailbox):
        mailbox.forgot()
        first = mailbox.token(ABOUT)
        mailbox.forgot()
        second = mailbox.token(ABOUT, number=2)
        assert mailbox.reset(first, NEW).status_code == 410
        assert mailbox.reset(second, NEW).status_code == 204

    def test_runs_out(self, shop, owner, mailbox):
        mailbox.forgot()
        token = mailbox.token(ABOUT)
        shop.sql("UPDATE links SET expires_at = now() WHERE user_id = :id", id=owner.id)
        assert mailbox.reset(token, NEW).status_code == 410

    def test_many_at_once_leave_one_and_a_few_mails(self, shop, owner, mailbox):
        at_once([mailbox.forgot] * 20)
        mailbox.mail(ABOUT)
        eventually(lambda: not shop.sql("SELECT 1 FROM outbox WHERE topic LIKE 'account%' OR topic LIKE 'link.%'"))
        states = [row.state for row in shop.sql("SELECT state FROM links WHERE user_id = :id", id=owner.id)]
        assert sorted(states) == ["live", *["replaced"] * (shop.settings.account_mails_per_hour - 1)]
        assert len(mailbox.mails(ABOUT)) <= shop.settings.account_mails_per_hour

    def test_a_poor_password_does_not_use_it_up(self, shop, owner, mailbox):
        mailbox.forgot()
        token = mailbox.token(ABOUT)
        for poor in ("short", "password1234", owner.name * 2):
            answer = mailbox.reset(token, poor)
            assert (answer.status_code, slug(answer)) == (422, "password-refused"), poor
            assert answer.json()["errors"][0]["pointer"] == "/new_password"
        assert mailbox.reset(token, NEW).status_code == 204

    def test_of_somebody_disabled_meanwhile_is_gone(self, shop, owner, mailbox):
        mailbox.forgot()
        token = mailbox.token(ABOUT)
        shop.sql("UPDATE users SET disabled_at = now() WHERE id = :id", id=owner.id)
        assert mailbox.reset(token, NEW).status_code == 410

    @pytest.mark.parametrize(
        "body", [{}, {"token": 1, "new_password": NEW}, {"token": "x"}, {"token": "", "new_password": NEW}]
    )
    def test_bodies_that_are_none(self, shop, body):
        assert shop.post("/v1/auth/password-reset/confirm", body).status_code == 422


class TestWhatElseItEnds:
    def test_a_change_of_address_that_was_under_way(self, shop, owner, mailbox):
        """Whoever knew the old password may have asked for it."""
        thief = Mailbox(shop)
        owner.login()
        assert owner.call("POST", "/v1/me/email", {"email": thief.email, "password": PASSWORD}).status_code == 202
        stolen = thief.token()
        mailbox.forgot()
        assert mailbox.reset(mailbox.token(ABOUT), NEW).status_code == 204
        assert thief.confirm(stolen).status_code == 410

    def test_so_does_a_password_changed_by_who_knows_it(self, shop, owner, mailbox):
        thief = Mailbox(shop)
        owner.login()
        owner.call("POST", "/v1/me/email", {"email": thief.email, "password": PASSWORD})
        mailbox.forgot()
        stolen, reset = thief.token(), mailbox.token(ABOUT)
        assert owner.call("PUT", "/v1/me/password", {"password": PASSWORD, "new_password": NEW}).status_code == 204
        assert thief.confirm(stolen).status_code == 410
        assert mailbox.reset(reset, "yet another good phrase").status_code == 410

    def test_a_second_factor_stays(self, shop):
        """A mailed link changes the password, and signs nobody in."""
        owner = member(shop, role=Role.SUPPORT)
        shop.sql("UPDATE users SET totp_secret = 'x', totp_confirmed_at = now() WHERE id = :id", id=owner.id)
        mailbox = Mailbox(shop, owner.email)
        mailbox.forgot()
        assert mailbox.reset(mailbox.token(ABOUT), NEW).status_code == 204
        answer = mailbox.login(NEW)
        assert (answer.status_code, slug(answer)) == (401, "second-factor-required")


class TestOutages:
    def test_without_temporal_it_still_takes_effect_and_is_told_later(self, shop, owner, mailbox):
        mailbox.forgot()
        token = mailbox.token(ABOUT)
        with shop.without("temporal"):
            assert mailbox.reset(token, NEW).status_code == 204
            assert mailbox.login(NEW).status_code == 200
        mailbox.mail("your password was changed", within=60)

    def test_the_word_to_the_owner_is_told_once_whatever_the_provider_does(self, shop, world, owner, mailbox):
        mailbox.forgot()
        token = mailbox.token(ABOUT)
        world.script_mail(owner.email, {"kind": "status_before", "status": 500})
        assert mailbox.reset(token, NEW).status_code == 204
        mailbox.mail("your password was changed", within=30)
        assert len(mailbox.mails("your password was changed")) == 1
