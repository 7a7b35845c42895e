"""Sessions: tokens that are renewed once each, signing out that is at once, and a new password."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from models.accounts.access import Role
from tests.fixtures.people import PASSWORD, member
from tests.fixtures.shop import at_once, eventually, new_key, slug

NEW_PASSWORD = "an entirely different phrase"


@pytest.fixture
def ada(shop):
    person = member(shop)
    person.login()
    return person


def renew(person, token=None, **headers):
    return person.call("POST", "/v1/auth/refresh", {"refresh_token": token or person.refresh_token}, **headers)


def alive(person, headers=None):
    """Whether the session speaks for them; guests' routes refuse a bad token too."""
    answer = person.shop.get("/v1/me/sessions", headers or person.headers)
    assert answer.status_code in (200, 401), answer.text
    return answer.status_code == 200


# Renewing


def test_a_pair_is_renewed_and_both_new_tokens_work(shop, ada):
    answer = renew(ada)

    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert set(found) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert found["refresh_token"] != ada.refresh_token
    ada.take(found)
    assert alive(ada)
    assert renew(ada).status_code == 200


def test_a_refresh_token_used_again_ends_the_session_for_both_who_hold_it(shop, ada):
    stolen = ada.refresh_token
    ada.take(renew(ada).json())

    answer = renew(ada, stolen)

    assert (answer.status_code, slug(answer)) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"]
    assert not alive(ada)
    assert renew(ada).status_code == 401
    ((why,),) = shop.sql("SELECT ended_why FROM sessions WHERE user_id = :id", id=ada.id)
    assert why == "reuse"
    rows = shop.sql("SELECT data FROM audit_log WHERE subject = :id AND action = 'session.ended'", id=ada.id)
    assert [row.data["why"] for row in rows] == ["reuse"]


def test_other_sessions_outlive_a_reused_token(shop, ada):
    other = ada.login()
    first = ada.refresh_token
    renew(ada)
    ada.login()

    renew(ada, first)

    assert not alive(ada, other)
    assert alive(ada)


def test_two_at_once_with_the_same_token_are_one_too_many(shop, ada):
    answers = at_once([lambda: renew(ada) for _ in range(8)])

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] + [401] * 7
    assert not alive(ada)


def test_an_answer_that_was_lost_is_given_again_to_the_same_client(shop, ada):
    key = new_key()
    first = renew(ada, Idempotency_Key=key)
    again = renew(ada, Idempotency_Key=key)

    assert again.status_code == 200
    assert again.json()["refresh_token"] == first.json()["refresh_token"]
    ada.take(again.json())
    assert alive(ada)
    assert renew(ada).status_code == 200


def test_a_client_that_retries_at_once_has_one_successor(shop, ada):
    key = new_key()

    answers = at_once([lambda: renew(ada, Idempotency_Key=key) for _ in range(8)])

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    ((count,),) = shop.sql(
        "SELECT count(*) FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE s.user_id = :id", id=ada.id
    )
    assert count == 2


@pytest.mark.parametrize(
    "how",
    ["another key", "no key", "another user agent", "too late", "the successor was used"],
)
def test_a_lost_answer_is_nobody_elses(shop, ada, how):
    key = new_key()
    old = ada.refresh_token
    successor = renew(ada, Idempotency_Key=key).json()
    headers = {"Idempotency_Key": key}
    if how == "another key":
        headers = {"Idempotency_Key": new_key()}
    elif how == "no key":
        headers = {}
    elif how == "another user agent":
        headers["User_Agent"] = "a thief's"
    elif how == "too late":
        shop.sql(
            "UPDATE refresh_tokens t SET used_at = now() - interval '31 seconds' FROM sessions s"
            " WHERE s.id = t.session_id AND s.user_id = :id AND t.used_at IS NOT NULL",
            id=ada.id,
        )
    else:
        assert renew(ada, successor["refresh_token"]).status_code == 200

    assert renew(ada, old, **headers).status_code == 401

    ada.take(successor)
    assert not alive(ada)


def test_a_key_that_is_none_is_refused(ada):
    answer = renew(ada, Idempotency_Key="two words")

    assert (answer.status_code, slug(answer)) == (400, "bad-idempotency-key")
    assert renew(ada).status_code == 200


def test_unknown_tokens_and_access_tokens_renew_nothing(ada):
    access = ada.headers["Authorization"].removeprefix("Bearer ")

    for token in ("nobody's", access, "é", "x" * 4096):
        assert renew(ada, token).status_code == 401
    for token in ("\ud800", "a\x00b", "", "x" * 4097):
        body = b'{"refresh_token": "' + token.encode("ascii", "backslashreplace").replace(b"\x00", b"\\u0000") + b'"}'
        answer = ada.shop.http.post(
            f"{ada.url}/v1/auth/refresh", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 422, token
    assert alive(ada)


def test_a_refresh_token_is_no_access_token(shop, ada):
    assert not alive(ada, {"Authorization": f"Bearer {ada.refresh_token}"})


def test_only_digests_of_refresh_tokens_are_kept(shop, ada):
    renew(ada)

    rows = shop.sql("SELECT t::text AS shown FROM refresh_tokens t") + shop.sql(
        "SELECT s::text AS shown FROM sessions s"
    )

    assert ada.refresh_token not in " ".join(row.shown for row in rows)
    assert ada.refresh_token.encode().hex() not in " ".join(row.shown for row in rows)


def test_a_session_lives_on_from_each_renewal_and_then_no_longer(shop):
    url = shop.api(refresh_token_seconds=1.5)
    ada = member(shop, url=url)
    ada.login()
    for _ in range(3):
        time.sleep(0.8)
        answer = renew(ada)
        assert answer.status_code == 200, answer.text
        ada.take(answer.json())

    eventually(lambda: not alive(ada), within=5)

    assert renew(ada).status_code == 401
    ((ended,),) = shop.sql("SELECT ended_at FROM sessions WHERE user_id = :id", id=ada.id)
    assert ended is None  # it ran out; nothing had to be done


# Signing out


def test_signing_out_is_at_once_for_every_token_of_the_session(shop, ada):
    elsewhere = ada.headers
    ada.login()

    assert ada.call("POST", "/v1/auth/logout").status_code == 204

    assert not alive(ada)
    assert renew(ada).status_code == 401
    assert ada.call("POST", "/v1/auth/logout").status_code == 401
    assert alive(ada, elsewhere)


def test_signing_out_holds_in_other_processes_and_while_redis_is_down(shop, ada):
    other = shop.api(mail_from="another.process@holdfast.example")
    seen = shop.http.get(f"{other}/v1/me/sessions", headers=ada.headers)
    assert seen.status_code == 200

    with shop.without("valkey"):
        assert ada.call("POST", "/v1/auth/logout").status_code == 204
        assert not alive(ada)
        assert shop.http.get(f"{other}/v1/me/sessions", headers=ada.headers).status_code == 401
        ada.login()
        assert alive(ada)
        assert renew(ada).status_code == 200


def test_guests_and_development_tokens_can_sign_out_of_nothing(shop):
    assert shop.http.post(f"{shop.url}/v1/auth/logout").status_code == 401
    assert shop.http.post(f"{shop.url}/v1/auth/logout", headers=shop.bearer(Role.ADMIN)).status_code == 204


# Where somebody is signed in


def test_the_list_tells_where_and_which_is_this_one(shop, ada):
    ada.login(headers={"User-Agent": "A browser/1.0 " + "x" * 300})

    items = ada.call("GET", "/v1/me/sessions").json()["items"]

    assert [item["current"] for item in items] == [True, False]
    assert set(items[0]) == {"id", "method", "user_agent", "address", "created_at", "seen_at", "current"}
    assert items[0]["user_agent"].startswith("A browser/1.0")
    assert len(items[0]["user_agent"]) == 200
    assert items[0]["address"] == "127.0.0.1"
    assert items[0]["method"] == "password"
    assert items[0]["created_at"].endswith("Z")


def test_the_list_has_pages(shop, ada):
    for _ in range(4):
        ada.login()

    seen, cursor = [], ""
    while cursor is not None:
        answer = ada.call("GET", f"/v1/me/sessions?limit=2{cursor and '&cursor=' + cursor}").json()
        seen.append([item["id"] for item in answer["items"]])
        cursor = answer["next_cursor"]

    assert [len(page) for page in seen] == [2, 2, 1]
    assert len({session for page in seen for session in page}) == 5
    assert ada.call("GET", "/v1/me/sessions?cursor=bad").status_code == 400


def test_a_session_is_ended_from_elsewhere_and_only_by_its_owner(shop, ada):
    there = ada.headers
    eve = member(shop)
    eve.login()
    ada.login()
    first = ada.call("GET", "/v1/me/sessions").json()["items"][1]["id"]

    assert eve.call("DELETE", f"/v1/me/sessions/{first}").status_code == 404
    assert ada.call("DELETE", "/v1/me/sessions/ses_nobody").status_code == 404
    assert alive(ada, there)
    assert ada.call("DELETE", f"/v1/me/sessions/{first}").status_code == 204
    assert not alive(ada, there)
    assert ada.call("DELETE", f"/v1/me/sessions/{first}").status_code == 404
    assert [item["id"] for item in ada.call("GET", "/v1/me/sessions").json()["items"]] != [first]


def test_a_disabled_person_and_a_new_role_count_at_once(shop):
    ada = member(shop, role=Role.SUPPORT)
    ada.login()
    assert ada.call("GET", "/v1/inventory/HF-TRAIL-JKT-S-RED").status_code == 200

    shop.sql("UPDATE users SET role = 'customer' WHERE id = :id", id=ada.id)
    assert ada.call("GET", "/v1/inventory/HF-TRAIL-JKT-S-RED").status_code == 403

    shop.sql("UPDATE users SET disabled_at = now() WHERE id = :id", id=ada.id)
    assert not alive(ada)
    assert renew(ada).status_code == 401


# A new password


def test_a_new_password_ends_the_other_sessions_and_its_owner_is_told(shop, ada):
    elsewhere = ada.headers
    ada.login()

    answer = ada.call("PUT", "/v1/me/password", {"password": PASSWORD, "new_password": NEW_PASSWORD})

    assert answer.status_code == 204, answer.text
    assert alive(ada)
    assert not alive(ada, elsewhere)
    assert ada.try_login().status_code == 401
    assert ada.try_login(password=NEW_PASSWORD).status_code == 200
    notices = shop.sql("SELECT kind FROM notices WHERE user_id = :id", id=ada.id)
    assert [row.kind for row in notices] == ["password_changed"]
    rows = shop.sql("SELECT action FROM audit_log WHERE subject = :id ORDER BY number", id=ada.id)
    assert "password.changed" in [row.action for row in rows]


def test_a_new_password_needs_the_old_one_and_has_to_be_good(shop, ada):
    wrong = ada.call("PUT", "/v1/me/password", {"password": "not this one", "new_password": NEW_PASSWORD})
    weak = ada.call("PUT", "/v1/me/password", {"password": PASSWORD, "new_password": "password1234"})

    assert (wrong.status_code, slug(wrong)) == (401, "invalid-credentials")
    assert (weak.status_code, slug(weak)) == (422, "password-refused")
    assert weak.json()["errors"][0]["pointer"] == "/new_password"
    assert ada.try_login().status_code == 200


def test_guessing_the_old_password_with_a_stolen_token_is_throttled(shop, ada):
    answers = [
        ada.call("PUT", "/v1/me/password", {"password": f"guess {n}", "new_password": NEW_PASSWORD}) for n in range(8)
    ]

    assert [answer.status_code for answer in answers] == [401] * 6 + [429] * 2


def test_two_new_passwords_at_once_are_one(shop, ada):
    answers = at_once(
        [
            lambda n=n: ada.call(
                "PUT", "/v1/me/password", {"password": PASSWORD, "new_password": f"{NEW_PASSWORD} {n}"}
            )
            for n in range(2)
        ]
    )

    assert sorted(answer.status_code for answer in answers) == [204, 401]


def test_a_password_that_changes_while_it_is_checked_opens_nothing(shop):
    """The sessions that there are end with the change; one that began a moment later would stay."""
    ada = member(shop)
    with (
        ThreadPoolExecutor(1) as pool,
        shop.engine.connect().execution_options(isolation_level="READ COMMITTED") as connection,
    ):
        with connection.begin():
            connection.execute(text("SELECT 1 FROM users WHERE id = :id FOR UPDATE"), {"id": ada.id})
            signing_in = pool.submit(ada.try_login)
            eventually(lambda: shop.sql("SELECT 1 FROM pg_locks WHERE NOT granted"))  # checked, and about to begin
            connection.execute(text("UPDATE users SET password_hash = 'another' WHERE id = :id"), {"id": ada.id})
        answer = signing_in.result()

    assert (answer.status_code, slug(answer)) == (401, "invalid-credentials")
    assert shop.sql("SELECT 1 FROM sessions WHERE user_id = :id", id=ada.id) == []
