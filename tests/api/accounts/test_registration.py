"""Registering: one answer for every address, one account for each, and nothing in force before the mail is read."""

from __future__ import annotations

import statistics
import threading
import time

import pytest
from sqlalchemy import Engine, event

from models.db.repositories.accounts import account_requests
from models.db.repositories.delivery.deliveries import Message
from models.db.session import Database
from models.ids import new_id
from models.topics import TOPICS
from tests.fixtures.mailbox import PASSWORD, Mailbox, new_address, token_in
from tests.fixtures.people import member
from tests.fixtures.shop import at_once, eventually, slug
from workers.outbox.consumers import Context, file_of


def links_of(shop, email):
    return shop.sql(
        "SELECT l.* FROM links l JOIN users u ON u.id = l.user_id WHERE u.email_key = lower(:email) ORDER BY l.number",
        email=email,
    )


def settled(shop):
    """Nothing about accounts waits in the outbox."""
    eventually(lambda: not shop.sql("SELECT 1 FROM outbox WHERE topic LIKE 'account%' OR topic LIKE 'link.%'"))


def settled_but_for(shop, topic):
    """Those wait, and nothing else does."""
    statement = "SELECT DISTINCT topic FROM outbox WHERE topic LIKE 'account%' OR topic LIKE 'link.%'"
    eventually(lambda: [row.topic for row in shop.sql(statement)] == [topic])


class TestASignUp:
    def test_from_the_form_to_the_first_call(self, shop):
        reader = Mailbox(shop)
        answer = reader.register()
        assert (answer.status_code, answer.json()) == (202, {"status": "verification_sent"})
        assert reader.login().status_code == 401
        answer = reader.confirm(reader.token())
        assert answer.status_code == 200
        found = answer.json()
        assert found["token_type"] == "Bearer"
        assert found["expires_in"] == 600
        assert found["user"]["email"] == reader.email
        assert found["user"]["name"] == "Ada Reader"
        assert found["user"]["role"] == "customer"
        mine = shop.get("/v1/me", {"Authorization": f"Bearer {found['access_token']}"})
        assert mine.status_code == 200
        assert reader.login().status_code == 200

    def test_the_mail_leads_to_the_configured_address(self, shop):
        reader = Mailbox(shop)
        reader.register(headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
        mail = reader.mail()
        for part in (mail["text"], mail["html"]):
            assert f"{shop.settings.storefront_url}/verify-email?token=" in part
            assert part.count("token=") == 1
            assert "evil" not in part
        assert "24 hours" in mail["text"]

    def test_nothing_a_stranger_typed_is_mailed(self, shop):
        reader = Mailbox(shop)
        reader.register(name="Win <b>money</b> at http://evil.example")
        mail = reader.mail()
        assert "evil" not in mail["text"] + mail["html"] + mail["subject"]

    def test_a_link_is_good_once(self, shop):
        reader = Mailbox(shop)
        reader.begin()
        again = reader.confirm(reader.token())
        assert (again.status_code, slug(again)) == (410, "gone")

    def test_two_at_once_use_it_once(self, shop):
        reader = Mailbox(shop)
        reader.register()
        token = reader.token()
        answers = at_once([lambda: reader.confirm(token)] * 6)
        assert sorted(answer.status_code for answer in answers) == [200, *[410] * 5]
        assert (
            len(shop.sql("SELECT 1 FROM sessions WHERE user_id = :id", id=links_of(shop, reader.email)[0].user_id)) == 1
        )

    @pytest.mark.parametrize("token", ["x", "A" * 43, "é" * 20, "A" * 200])
    def test_an_unknown_one_is_gone_too(self, shop, token):
        assert Mailbox(shop).confirm(token).status_code == 410

    def test_one_for_another_purpose_is_gone(self, shop):
        reader = Mailbox(shop)
        reader.begin()
        reader.forgot()
        assert reader.confirm(reader.token("choose a new password")).status_code == 410

    def test_it_runs_out(self, shop):
        reader = Mailbox(shop)
        reader.register()
        token = reader.token()
        shop.sql("UPDATE links SET expires_at = now() WHERE id = :id", id=links_of(shop, reader.email)[0].id)
        assert reader.confirm(token).status_code == 410
        assert reader.ask_again().status_code == 202
        assert reader.confirm(reader.token(number=2)).status_code == 200
        assert reader.login().status_code == 200

    def test_a_newer_one_replaces_it(self, shop):
        reader = Mailbox(shop)
        reader.register()
        first = reader.token()
        reader.ask_again()
        second = reader.token(number=2)
        assert reader.confirm(first).status_code == 410
        assert reader.confirm(second).status_code == 200
        assert reader.login().status_code == 200
        assert [link.state for link in links_of(shop, reader.email)] == ["replaced", "used"]

    def test_registering_again_means_the_newer_password(self, shop):
        reader = Mailbox(shop)
        reader.register(name="First")
        first = reader.token()
        reader.register(password="a second thought entirely", name="Second")
        second = reader.token(number=2)
        assert reader.confirm(first).status_code == 410
        assert reader.confirm(second).json()["user"]["name"] == "Second"
        assert reader.login().status_code == 401
        assert reader.login("a second thought entirely").status_code == 200

    def test_no_secret_is_kept(self, shop):
        reader = Mailbox(shop)
        reader.begin()
        token = reader.token()
        for table in ("links", "outbox", "account_requests", "notifications", "notices", "audit_log"):
            assert not shop.sql(f"SELECT 1 FROM {table} t WHERE t::text LIKE '%' || :token || '%'", token=token), table
        (link,) = links_of(shop, reader.email)
        assert (link.password_hash, link.name) == (None, None)
        assert shop.sql("SELECT action FROM audit_log WHERE subject = :id ORDER BY number", id=link.user_id) == [
            ("account.verified",),
            ("session.started",),
        ]


class TestAKnownAddress:
    def test_its_owner_is_told_and_nothing_changes(self, shop):
        owner = member(shop)
        reader = Mailbox(shop, owner.email)
        answer = reader.register(password="somebody else's phrase", name="Mallory")
        assert (answer.status_code, answer.json()) == (202, {"status": "verification_sent"})
        mail = reader.mail("you already have an account")
        assert "token=" not in mail["text"]
        settled(shop)
        assert links_of(shop, owner.email) == []
        assert reader.login("somebody else's phrase").status_code == 401
        assert owner.try_login().json()["user"]["name"] == owner.name

    def test_is_told_of_only_a_few_times_an_hour(self, shop):
        reader = Mailbox(shop, member(shop).email)
        at_once([reader.register] * 8)
        reader.mail()
        settled(shop)
        assert len(reader.mails()) <= shop.settings.account_mails_per_hour

    def test_asking_for_verification_tells_nobody_anything(self, shop):
        owner = member(shop)
        for email in (owner.email, new_address()):
            reader = Mailbox(shop, email)
            answer = reader.ask_again()
            assert (answer.status_code, answer.json()) == (202, {"status": "verification_sent"})
            settled(shop)
            assert reader.mails() == []

    def test_a_disabled_account_gets_nothing(self, shop):
        reader = Mailbox(shop, member(shop, disabled=True).email)
        assert [reader.register().status_code, reader.forgot().status_code] == [202, 202]
        settled(shop)
        assert reader.mails() == []

    def test_cases_are_one_account(self, shop):
        reader = Mailbox(shop, new_address().replace("reader", "Mixed.Case"))
        reader.begin()
        for spelled in (reader.email.lower(), reader.email.upper()):
            other = Mailbox(shop, spelled)
            assert other.login().status_code == 200
            other.register()
        reader.mail("you already have an account")
        assert len(shop.sql("SELECT 1 FROM users WHERE email_key = :key", key=reader.email.lower())) == 1


class TestMany:
    def test_twenty_at_once_are_one_account_and_one_mail(self, shop):
        reader = Mailbox(shop)
        answers = at_once([reader.register] * 20)
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.content for answer in answers}) == 1
        reader.mail()
        settled(shop)
        assert len(shop.sql("SELECT 1 FROM users WHERE email_key = :key", key=reader.email)) == 1
        assert len(links_of(shop, reader.email)) == 1
        assert len(reader.mails()) == 1
        assert reader.confirm(reader.token()).status_code == 200

    def test_mails_an_hour_are_bounded(self, shop):
        reader = Mailbox(shop)
        reader.register()
        reader.mail()
        at_once([reader.ask_again] * 20)
        settled(shop)
        states = [link.state for link in links_of(shop, reader.email)]
        assert states == [*["replaced"] * (shop.settings.account_mails_per_hour - 1), "live"]
        eventually(lambda: [reader.confirm(token_in(mail)).status_code for mail in reader.mails()][-1:] == [200])
        assert len(reader.mails()) <= shop.settings.account_mails_per_hour


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "more", [{"role": "admin"}, {"is_verified": True}, {"verified_at": "2026-01-01T00:00:00Z"}]
    )
    def test_fields_that_nobody_asked_for(self, shop, more):
        body = {"email": new_address(), "password": PASSWORD, "name": "Ada", **more}
        answer = shop.post("/v1/auth/register", body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == f"/{next(iter(more))}"

    @pytest.mark.parametrize(
        ("password", "why"),
        [
            ("short", "at least 12"),
            ("x" * 257, "at most 256"),
            ("Password1234", "most often used"),
            ("passwordpassword", "most often used"),
            ("aaaaaaaaaaaaaa", "repeated"),
            ("abcdefghijklmn", "sequence"),
            ("Ada Lovelace 1815", "your name"),
            ("holdfast2026!!", "the shop's name"),
        ],
    )
    def test_poor_passwords_with_the_reason(self, shop, password, why):
        answer = shop.post("/v1/auth/register", {"email": new_address(), "password": password, "name": "Ada Lovelace"})
        assert (answer.status_code, slug(answer)) == (422, "password-refused")
        (error,) = answer.json()["errors"]
        assert error["pointer"] == "/password"
        assert why in error["detail"]

    @pytest.mark.parametrize(
        "email", ["", "x", "a@", "a@b", "a b@example.com", "a@example.com\nBcc: b@example.com", "é"]
    )
    def test_what_is_no_address(self, shop, email):
        answer = shop.post("/v1/auth/register", {"email": email, "password": PASSWORD, "name": "Ada"})
        assert answer.status_code == 422

    def test_text_that_is_no_text(self, shop):
        for name, password in (("a\x00b", PASSWORD), ("Ada", "\ud800" + PASSWORD)):
            content = b'{"email": "%s", "name": %s, "password": %s}' % (
                new_address().encode(),
                *(repr_json(value) for value in (name, password)),
            )
            answer = shop.http.post(
                f"{shop.url}/v1/auth/register", content=content, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == 422


def repr_json(value):
    return ('"' + "".join(f"\\u{ord(c):04x}" for c in value) + '"').encode()


class TestLongPasswords:
    def test_eighty_characters_that_differ_at_the_end(self, shop):
        reader = Mailbox(shop)
        reader.begin(password="a" * 79 + "b")
        assert reader.login("a" * 79 + "c").status_code == 401
        assert reader.login("a" * 72).status_code == 401
        assert reader.login("a" * 79 + "b").status_code == 200

    def test_two_spellings_of_one_text(self, shop):
        reader = Mailbox(shop)
        reader.begin(password="ﬃne ﬁlm caf\u00e9 \U0001f642 passphrase")
        assert reader.login("ffine film cafe\u0301 \U0001f642 passphrase").status_code == 200


class TestOutages:
    def test_without_a_worker_it_is_asked_now_and_mailed_later(self, shop):
        reader, owner = Mailbox(shop), member(shop)
        with shop.without(*shop.workers):
            assert reader.register().status_code == 202
            assert Mailbox(shop, owner.email).forgot().status_code == 202
            time.sleep(0.3)
            assert reader.mails() == []
        assert reader.confirm(reader.token(within=60)).status_code == 200
        Mailbox(shop, owner.email).mail("choose a new password", within=60)

    def test_without_temporal_too(self, shop):
        reader, waiting = Mailbox(shop), Mailbox(shop)
        waiting.register()
        token = waiting.token()
        with shop.without("temporal"):
            assert reader.register().status_code == 202
            assert waiting.confirm(token).status_code == 200
            assert waiting.login().status_code == 200
        assert reader.confirm(reader.token(within=60)).status_code == 200

    def test_without_the_mail_provider_links_and_notices_come_later(self, shop):
        reader, owner = Mailbox(shop), Mailbox(shop, member(shop).email)
        with shop.without("sandbox"):
            assert [reader.register().status_code, owner.register().status_code] == [202, 202]
            settled_but_for(shop, "account_notification.requested")
        assert reader.confirm(reader.token(within=60)).status_code == 200
        owner.mail("you already have an account", within=60)
        settled(shop)
        assert (len(reader.mails()), len(owner.mails())) == (1, 1)

    def test_a_mail_provider_that_fails_is_asked_again(self, shop, world):
        reader = Mailbox(shop)
        world.script_mail(
            reader.email, {"kind": "status_before", "status": 429}, {"kind": "status_before", "status": 429}
        )
        reader.register()
        assert reader.confirm(reader.token(within=30)).status_code == 200
        assert len(reader.mails()) == 1

    def test_what_was_replaced_before_it_was_sent_is_not_sent(self, shop, world):
        reader = Mailbox(shop)
        world.script_mail(reader.email, *[{"kind": "status_before", "status": 429}] * 2)
        reader.register()
        eventually(
            lambda: shop.sql(
                "SELECT 1 FROM notifications n JOIN links l ON l.id = n.event WHERE l.email = :email",
                email=reader.email,
            )
        )
        reader.ask_again()
        assert reader.confirm(reader.token(within=30)).status_code == 200
        time.sleep(3)
        assert len(reader.mails()) == 1


@pytest.fixture
def statements():
    """What the API says to PostgreSQL while a call runs."""
    said = []

    def record(connection, cursor, statement, parameters, context, many):
        ours = threading.current_thread() is threading.main_thread()
        # The mail provider's webhooks come when they like; wake-ups are sent afterwards by a thread of their own.
        if not ours and "notifications" not in statement and "pg_notify" not in statement:
            said.append(statement)

    event.listen(Engine, "before_cursor_execute", record)

    def during(call):
        said.clear()
        assert call().status_code == 202
        return tuple(said)

    yield during
    event.remove(Engine, "before_cursor_execute", record)


class TestTheSameWork:
    @pytest.mark.parametrize("call", ["register", "ask_again", "forgot"])
    def test_the_database_is_told_the_same_whoever_is_asked_for(self, shop, statements, call):
        waiting = Mailbox(shop)
        waiting.register()
        waiting.mail()
        asked_for = [Mailbox(shop, member(shop).email), Mailbox(shop, member(shop, disabled=True).email), waiting]
        expected = statements(getattr(Mailbox(shop), call))
        assert len(expected) == 2  # the request, and its message
        for reader in asked_for:
            assert statements(getattr(reader, call)) == expected


class TestTime:
    def test_known_and_unknown_take_the_same(self, shop):
        owner = Mailbox(shop, member(shop).email)

        def registration(known):
            return (owner if known else Mailbox(shop)).register

        def forgotten(known):
            return (owner if known else Mailbox(shop)).forgot

        assert 0.6 < ratio_of_times(registration, 20) < 1.66
        assert 0.6 < ratio_of_times(forgotten, 40) < 1.66

    def test_the_measure_would_show_a_hash_that_was_skipped(self, shop):
        """A refusal before the hash stands for it."""
        slow, quick = Mailbox(shop), Mailbox(shop)
        assert (
            ratio_of_times(lambda known: (lambda: quick.register(password="x")) if known else slow.register, 10) < 0.5
        )


def ratio_of_times(make, rounds):
    """Lower quartile of the known over that of the unknown (a busy machine moves the median), in changing order."""
    times = {True: [], False: []}
    for number in range(rounds):
        for known in ((True, False), (False, True))[number % 2]:
            call = make(known)
            began = time.perf_counter()
            answer = call()
            times[known].append(time.perf_counter() - began)
            assert answer.status_code in (202, 422)
    return statistics.quantiles(times[True])[0] / statistics.quantiles(times[False])[0]


@pytest.fixture
def hear(shop):
    """One message of the outbox, as its consumer handles it."""
    database = Database(shop.settings.database, pool_size=1)

    def tell(topic, data):
        async def ask(client):
            (consumer,) = TOPICS[topic].consumers
            handlers = file_of(consumer).handlers(Context(shop.settings, database, client))
            await handlers[topic](Message(0, topic, "", data))

        shop.temporal(ask)

    yield tell
    database.close()


class TestRepeats:
    """A crash between a step and its message being gone: every listener hears it again."""

    def test_opening_a_request_twice_is_opening_it_once(self, shop, hear):
        email = new_address()
        request_id = shop.sql(
            "INSERT INTO account_requests (id, kind, email, name, password_hash)"
            " VALUES (:id, 'registration', :email, 'Ada', 'no hash') RETURNING id",
            id=new_id("areq"),
            email=email,
        )[0].id
        for _ in range(2):
            hear("account.requested", {"request_id": request_id})
        settled(shop)
        assert len(links_of(shop, email)) == 1
        Mailbox(shop, email).mail()
        assert len(Mailbox(shop, email).mails()) == 1

    def test_starting_and_ending_a_story_twice(self, shop, hear):
        reader = Mailbox(shop)
        reader.register()
        token = reader.token()
        (link,) = links_of(shop, reader.email)
        data = {
            "id": link.id,
            "user_id": link.user_id,
            "purpose": link.purpose,
            "number": link.number,
            "lifetime_seconds": link.lifetime_seconds,
        }
        hear("link.opened", data)
        assert reader.confirm(token).status_code == 200
        workflow_id = f"email-verification/{link.user_id}/1"
        eventually(lambda: shop.ended(workflow_id))
        for _ in range(2):
            hear("link.ended", {"workflow_id": workflow_id, "how": "used"})
        hear("link.opened", data)
        assert not shop.running(workflow_id)
        assert len(reader.mails()) == 1

    def test_a_notice_twice_is_one_mail(self, shop, hear):
        reader = Mailbox(shop, member(shop).email)
        reader.register()
        reader.mail()
        (notice,) = shop.sql("SELECT * FROM notices WHERE email = :email", email=reader.email)
        for _ in range(2):
            hear("account_notification.requested", {"notice_id": notice.id})
        assert len(reader.mails()) == 1


class TestForgetting:
    """By the workers, after 30 days."""

    def test_who_never_confirmed(self, shop):
        old, new, asked_again = Mailbox(shop), Mailbox(shop), Mailbox(shop)
        for reader in (old, new, asked_again):
            reader.register()
            reader.mail()
        shop.sql("UPDATE links SET created_at = now() - interval '31 days' WHERE email = :email", email=old.email)
        for reader in (old, asked_again):
            shop.sql(
                "UPDATE users SET created_at = now() - interval '31 days' WHERE email = :email", email=reader.email
            )
        self.forget(shop)
        assert [self.known(shop, reader.email) for reader in (old, new, asked_again)] == [False, True, True]
        old.register()
        assert old.confirm(old.token(number=2)).status_code == 200

    def test_but_no_member_and_what_they_were_told_long_ago(self, shop):
        owner = member(shop)
        Mailbox(shop, owner.email).register()
        eventually(lambda: shop.sql("SELECT 1 FROM notices WHERE email = :email", email=owner.email))
        shop.sql("UPDATE users SET created_at = now() - interval '400 days' WHERE id = :id", id=owner.id)
        shop.sql("UPDATE notices SET created_at = now() - interval '31 days' WHERE user_id = :id", id=owner.id)
        self.forget(shop)
        assert self.known(shop, owner.email)
        assert shop.sql("SELECT 1 FROM notices WHERE user_id = :id", id=owner.id) == []

    def known(self, shop, email):
        return bool(shop.sql("SELECT 1 FROM users WHERE email = :email", email=email))

    def forget(self, shop):
        database = Database(shop.settings.database, pool_size=1)
        with database.transaction() as connection:
            account_requests.forget_old(connection)
        database.close()
