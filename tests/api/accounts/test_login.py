"""Signing in with a password, and what guessing meets."""

from __future__ import annotations

import itertools
import time
import unicodedata
from contextlib import contextmanager

import httpx
import pyotp
import pytest
from argon2 import PasswordHasher

from models.accounts.accounts import account_key
from tests.fixtures.people import PASSWORD, member
from tests.fixtures.shop import at_once, new_key, slug

FREE = 5
_hosts = itertools.count(1)


@contextmanager
def someone_from(network):
    """A client with an address in 127.0.{network}.0/24."""
    transport = httpx.HTTPTransport(local_address=f"127.0.{network}.{next(_hosts) % 250 + 1}")
    with httpx.Client(transport=transport, timeout=30) as client:
        yield client


def fail(person, times, **more):
    """Wrong passwords that have to be refused as such."""
    for _ in range(times):
        answer = person.try_login(password="a wrong one", **more)
        assert answer.status_code == 401, answer.text


def pass_time(shop, person, seconds):
    """As if that long had gone by since the failures."""
    shop.sql(
        "UPDATE login_failures SET last_at = last_at - make_interval(secs => :seconds) WHERE account_key = :key",
        seconds=seconds,
        key=account_key(person.email),
    )


def failures(shop, person):
    """By range, and `*` from everywhere."""
    rows = shop.sql(
        "SELECT address_range, failures FROM login_failures WHERE account_key = :key", key=account_key(person.email)
    )
    return {row.address_range: row.failures for row in rows}


# Who gets in


def test_a_sign_in_gives_tokens_that_speak_for_the_person(shop):
    ada = member(shop)

    answer = ada.try_login()

    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert found["token_type"] == "Bearer"
    assert found["expires_in"] == 600
    assert found["user"] == {
        "id": ada.id,
        "email": ada.email,
        "name": ada.name,
        "role": "customer",
        "second_factor": False,
        "version": 1,
    }
    cart = shop.post("/v1/carts", {}, {"Authorization": f"Bearer {found['access_token']}"})
    assert cart.status_code == 201
    assert shop.get(f"/v1/carts/{cart.json()['id']}").status_code == 404  # theirs alone


def test_whatever_is_wrong_the_answer_is_the_same(shop):
    people = {
        "wrong": (member(shop), {"password": "not their password"}),
        "unknown": (member(shop), {"email": "nobody.at.all@example.com"}),
        "no address at all": (member(shop), {"email": "nobody"}),
        "not verified": (member(shop, verified=False), {}),
        "disabled": (member(shop, disabled=True), {}),
        "to be reset": (member(shop, must_reset=True), {}),
    }

    answers = {why: person.try_login(**more) for why, (person, more) in people.items()}

    assert {answer.status_code for answer in answers.values()} == {401}
    assert {slug(answer) for answer in answers.values()} == {"invalid-credentials"}
    bodies = [{**answer.json(), "request_id": None} for answer in answers.values()]
    assert all(body == bodies[0] for body in bodies)
    headers = [sorted(set(answer.headers) - {"date"}) for answer in answers.values()]
    assert all(names == headers[0] for names in headers)


@pytest.mark.parametrize(
    ("stored", "typed"),
    [
        ("a" * 79 + "b", "a" * 79 + "b"),
        (unicodedata.normalize("NFC", "Käuferin öffnet Türen"), unicodedata.normalize("NFD", "Käuferin öffnet Türen")),
        ("ﬁve ﬁne ﬁddles", "five fine fiddles"),
        ("пароль из многих букв 🗝️", "пароль из многих букв 🗝️"),
        ("with\x00a NUL inside it", "with\x00a NUL inside it"),
        ("  blanks around it  ", "  blanks around it  "),
    ],
)
def test_a_password_is_its_characters_however_they_are_typed(shop, stored, typed):
    ada = member(shop, password=stored)

    assert ada.try_login(password=typed).status_code == 200


@pytest.mark.parametrize(
    ("stored", "typed"),
    [
        ("a" * 79 + "b", "a" * 79 + "c"),
        ("a" * 256, "a" * 255),
        ("with\x00a NUL inside it", "with\x00another thing behind it"),
        ("Case Matters Here Too", "case matters here too"),
        ("  blanks around it  ", "blanks around it"),
    ],
)
def test_every_character_counts(shop, stored, typed):
    ada = member(shop, password=stored)

    assert ada.try_login(password=typed).status_code == 401


def test_an_address_is_one_account_however_it_is_cased(shop):
    ada = member(shop, email=f"Ada.{new_key()[:8]}@Example.com")

    assert ada.try_login(email=ada.email.upper()).status_code == 200
    fail(ada, 2, email=ada.email.lower())
    fail(ada, 2, email=ada.email.upper())
    assert failures(shop, ada)["*"] == 4


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "a@example.com"},
        {"email": "a@example.com", "password": ""},
        {"email": "a@example.com", "password": 12},
        {"email": ["a@example.com"], "password": PASSWORD},
        {"email": "a@example.com", "password": PASSWORD, "remember": True},
        {"email": "a@example.com", "password": "x" * 1025},
        {"email": "a\x00@example.com", "password": PASSWORD},
        {"email": "x" * 300 + "@example.com", "password": PASSWORD},
    ],
)
def test_a_body_that_is_none_is_refused(shop, body):
    answer = shop.post("/v1/auth/login", body)

    assert (answer.status_code, slug(answer)) == (422, "invalid-request")
    assert PASSWORD not in answer.text


def test_lone_surrogates_are_refused(shop):
    for body in (b'{"email": "a@example.com", "password": "\\ud800"}', b'{"email": "\\udfff@b.c", "password": "x"}'):
        answer = shop.http.post(f"{shop.url}/v1/auth/login", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422


def test_a_hash_with_old_parameters_is_made_anew(shop):
    ada = member(shop)
    weak = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    shop.sql("UPDATE users SET password_hash = :hash WHERE id = :id", hash=weak, id=ada.id)

    fail(ada, 1)
    ((kept,),) = shop.sql("SELECT password_hash FROM users WHERE id = :id", id=ada.id)
    assert kept == weak
    assert ada.try_login().status_code == 200

    ((renewed, version),) = shop.sql("SELECT password_hash, version FROM users WHERE id = :id", id=ada.id)
    assert "m=19456,t=2,p=1" in renewed
    assert version == 1
    assert ada.try_login().status_code == 200


def test_a_guests_orders_are_theirs_from_the_first_sign_in(shop):
    ada = member(shop)
    buyer = shop.buyer()
    buyer.change("PUT", "/email", {"email": ada.email.upper()})
    order = buyer.buy()

    ada.login()

    assert ada.call("GET", f"/v1/orders/{order['id']}").status_code == 200


def test_a_sign_in_is_in_the_audit_log_and_holds_nothing_personal(shop):
    ada = member(shop)
    ada.login()

    ((action, data),) = shop.sql("SELECT action, data::text FROM audit_log WHERE subject = :id", id=ada.id)

    assert action == "session.started"
    assert ada.email not in data
    assert "127.0.0.1" not in data


# The second factor


@pytest.fixture
def careful(shop):
    """Somebody with a second factor, and the authenticator."""
    person = member(shop)
    person.login()
    secret = person.call("POST", "/v1/me/totp").json()["secret"]
    authenticator = pyotp.TOTP(secret)
    assert person.call("POST", "/v1/me/totp/confirm", {"code": authenticator.now()}).status_code == 200
    return person, authenticator


def test_the_second_factor_is_asked_for_only_when_the_password_is_right(shop, careful):
    ada, authenticator = careful

    assert slug(ada.try_login(password="a wrong one")) == "invalid-credentials"
    assert slug(ada.try_login(password="a wrong one", code="000000")) == "invalid-credentials"
    asked = ada.try_login()
    assert (asked.status_code, slug(asked)) == (401, "second-factor-required")
    assert failures(shop, ada)["*"] == 2  # asking is neither a failure nor forgets those there were
    answer = ada.try_login(code=authenticator.at(time.time() + 30))
    assert answer.status_code == 200, answer.text
    assert answer.json()["user"]["second_factor"] is True
    assert failures(shop, ada) == {}


def test_wrong_codes_count_as_failures(shop, careful):
    ada, authenticator = careful

    answers = [ada.try_login(code=f"{n:06}") for n in range(8)]

    assert [answer.status_code for answer in answers] == [401] * 6 + [429] * 2
    assert {slug(answer) for answer in answers[:6]} == {"invalid-credentials"}
    assert ada.try_login(code=authenticator.at(time.time() + 30)).status_code == 429


def test_who_has_sat_out_a_wait_for_the_password_need_not_do_so_again_for_the_code(shop, careful):
    ada, authenticator = careful
    for _ in range(FREE + 3):
        fail(ada, 1)
        pass_time(shop, ada, 900)

    assert slug(ada.try_login()) == "second-factor-required"
    assert ada.try_login(code=authenticator.at(time.time() + 30)).status_code == 200


def test_a_code_used_at_two_doors_at_once_opens_one(careful):
    ada, authenticator = careful
    code = authenticator.at(time.time() + 30)

    answers = at_once([lambda: ada.try_login(code=code) for _ in range(4)])

    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


# Guessing


def test_after_a_few_failures_each_makes_the_next_try_wait_twice_as_long(shop):
    ada = member(shop)
    fail(ada, FREE + 1)

    waits = []
    for _ in range(13):
        answer = ada.try_login(password="a wrong one")
        assert (answer.status_code, slug(answer)) == (429, "too-many-attempts")
        assert answer.json()["retry_after"] == int(answer.headers["retry-after"])
        waits.append(answer.json()["retry_after"])
        assert ada.try_login().status_code == 429  # the right one as well: nothing is checked
        pass_time(shop, ada, waits[-1])
        fail(ada, 1)

    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]
    pass_time(shop, ada, 900)
    assert ada.try_login().status_code == 200
    assert failures(shop, ada) == {}


def test_the_wait_is_real_time(shop):
    ada = member(shop)
    fail(ada, FREE + 1)
    assert ada.try_login().status_code == 429

    time.sleep(1.05)

    assert ada.try_login().status_code == 200


def test_unknown_addresses_are_throttled_the_same(shop):
    nobody = member(shop)
    nobody.email = f"nobody.{new_key()}@example.com"

    answers = [nobody.try_login() for _ in range(8)]

    assert [answer.status_code for answer in answers] == [401] * 6 + [429] * 2


def test_nobody_locks_somebody_else_out(shop):
    ada = member(shop)
    with someone_from(3) as attacker:
        fail(ada, FREE + 1, client=attacker)
        assert ada.try_login(client=attacker).status_code == 429
    with someone_from(3) as neighbour:  # another address of the same range
        assert ada.try_login(client=neighbour).status_code == 429

    assert ada.try_login().status_code == 200


def test_a_header_does_not_escape_the_throttle(shop):
    ada = member(shop)

    answers = []
    for n in range(10):
        claimed = f"198.51.{n}.1"
        headers = {"X-Forwarded-For": claimed, "X-Real-IP": claimed, "Forwarded": f"for={claimed}"}
        answers.append(ada.try_login(password="a wrong one", headers=headers))

    assert [answer.status_code for answer in answers] == [401] * 6 + [429] * 4
    assert set(failures(shop, ada)) == {"127.0.0.0/24", "*"}


def test_a_trusted_proxy_tells_who_is_calling(shop):
    url = shop.api(trusted_proxies="127.0.0.1, 10.0.0.0/8")
    ada = member(shop, url=url)

    def through_the_proxy(chain):
        return {"headers": {"X-Forwarded-For": chain}}

    fail(ada, FREE + 1, **through_the_proxy("203.0.113.7"))
    assert ada.try_login(**through_the_proxy("203.0.113.99")).status_code == 429
    # What the caller wrote into the header stands to the left of what our proxies saw.
    assert ada.try_login(**through_the_proxy("192.0.2.1, 203.0.113.8, 10.1.2.3")).status_code == 429
    assert ada.try_login(**through_the_proxy("203.0.114.7")).status_code == 200
    with someone_from(9) as stranger:  # not a proxy of ours
        fail(ada, 1, client=stranger, **through_the_proxy("203.0.115.7"))
    assert set(failures(shop, ada)) == {"127.0.9.0/24", "203.0.113.0/24", "*"}


@pytest.mark.parametrize("known", [True, False])
def test_guesses_at_once_do_not_exceed_the_allowance(shop, known):
    ada = member(shop)
    if not known:
        ada.email = f"nobody.{new_key()}@example.com"

    answers = at_once([lambda n=n: ada.try_login(password=f"guess {n}") for n in range(50)])

    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(401), statuses.count(429)) == (6, 44)


def test_nor_do_those_at_several_processes(shop):
    ada = member(shop)
    elsewhere = member(shop, url=shop.api(mail_from="another.process@holdfast.example"))
    elsewhere.email = ada.email

    answers = at_once([lambda who=who: who.try_login(password="a guess") for who in [ada, elsewhere] * 15])

    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(401), statuses.count(429)) == (6, 24)


def test_the_same_person_at_fifty_doors_at_once_gets_in_everywhere(shop):
    ada = member(shop)

    answers = at_once([lambda: ada.try_login(password=PASSWORD) for _ in range(50)])

    assert {answer.status_code for answer in answers} == {200}


def test_the_throttle_survives_redis_and_a_new_process(shop):
    ada = member(shop)
    fail(ada, FREE + 1)

    with shop.without("valkey"):
        assert ada.try_login().status_code == 429
    ada.url = shop.api(mail_from="yet.another@holdfast.example")
    assert ada.try_login().status_code == 429


def test_a_day_without_a_failure_begins_anew(shop):
    ada = member(shop)
    fail(ada, FREE + 1)
    pass_time(shop, ada, 86_401)

    fail(ada, 1)

    assert set(failures(shop, ada).values()) == {1}


@pytest.fixture
def closing(shop):
    """An API that closes accounts after nine failures in a row, and makes nobody wait."""
    return shop.api(login_failures_ceiling=9, login_free_failures=1000)


def test_after_too_many_in_a_row_only_a_mailed_reset_opens_the_account(shop, closing):
    ada = member(shop, url=closing)
    for network in (21, 22, 23):
        with someone_from(network) as attacker:
            fail(ada, 3, client=attacker)

    shut = ada.try_login()

    assert (shut.status_code, slug(shut)) == (401, "invalid-credentials")
    ((must_reset,),) = shop.sql("SELECT must_reset FROM users WHERE id = :id", id=ada.id)
    assert must_reset
    fail(ada, 3)
    told = shop.sql("SELECT kind FROM notices WHERE user_id = :id", id=ada.id)
    assert [row.kind for row in told] == ["password_must_be_reset"]  # once
    rows = shop.sql("SELECT actor_type, action FROM audit_log WHERE subject = :id", id=ada.id)
    assert [(row.actor_type, row.action) for row in rows] == [("system", "password.reset_required")]


def test_the_ceiling_holds_even_where_it_was_not_written_down(shop, closing):
    """A process killed between the last failure and its consequence, or guesses still under way."""
    ada = member(shop, url=closing)
    fail(ada, 1)
    shop.sql(
        "UPDATE login_failures SET failures = 9 WHERE account_key = :key AND address_range = '*'",
        key=account_key(ada.email),
    )

    assert ada.try_login().status_code == 401

    ((must_reset,),) = shop.sql("SELECT must_reset FROM users WHERE id = :id", id=ada.id)
    assert must_reset


def test_one_before_too_many_a_success_begins_anew(shop, closing):
    ada = member(shop, url=closing)
    fail(ada, 8)
    assert ada.try_login().status_code == 200
    fail(ada, 8)
    assert ada.try_login().status_code == 200


def test_guesses_at_once_from_everywhere_do_not_exceed_the_ceiling(shop, closing):
    ada = member(shop, url=closing)
    with someone_from(31) as one, someone_from(32) as two, someone_from(33) as three:
        answers = at_once([lambda c=c: ada.try_login(password="a guess", client=c) for c in [one, two, three] * 5])

    assert {answer.status_code for answer in answers} == {401}
    assert ada.try_login().status_code == 401
    told = shop.sql("SELECT kind FROM notices WHERE user_id = :id", id=ada.id)
    assert len(told) == 1


def test_an_unknown_address_that_is_guessed_at_for_long_is_refused_the_same(shop, closing):
    nobody = member(shop, url=closing)
    nobody.email = f"nobody.{new_key()}@example.com"

    fail(nobody, 11)

    assert failures(shop, nobody)["*"] == 11


def test_one_address_is_limited_over_all_accounts(shop):
    url = shop.api(auth_rate_limit="3/hour")
    people = [member(shop, url=url) for _ in range(5)]

    answers = [person.try_login() for person in people]

    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    refused = answers[-1]
    assert slug(refused) == "too-many-requests"
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert refused.headers["ratelimit-policy"] == '"auth";q=3;w=3600'
    assert shop.http.get(f"{url}/v1/products").status_code == 200
    with someone_from(41) as somebody_else:
        assert people[-1].try_login(client=somebody_else).status_code == 200


# Time


def test_time_does_not_tell_whether_an_address_is_known(shop):
    url = shop.api(login_free_failures=1000, login_failures_ceiling=100_000)
    known, unverified, unknown = member(shop, url=url), member(shop, url=url, verified=False), member(shop, url=url)
    shop.sql("UPDATE users SET password_hash = NULL WHERE id = :id", id=unverified.id)
    unknown.email = f"nobody.{new_key()}@example.com"
    people = {"known": known, "unverified": unverified, "unknown": unknown}
    seconds = {kind: [] for kind in people}

    def ratio():
        """Of the shortest times: what else the machine does only adds to a time."""
        for _ in range(20):
            for kind, person in people.items():
                began = time.perf_counter()
                assert person.try_login(password="a wrong one").status_code == 401
                seconds[kind].append(time.perf_counter() - began)
        shortest = [min(times) for times in seconds.values()]
        return max(shortest) / min(shortest)

    assert any(ratio() < 1.25 for _ in range(8)), seconds
