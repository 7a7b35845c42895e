"""The profile, the address book, and what somebody wants to be told of."""

from __future__ import annotations

import json

import pytest

from models.accounts.access import Role
from models.ids import new_id
from tests.fixtures.people import member
from tests.fixtures.shop import ADDRESSES, at_once, slug


@pytest.fixture(scope="module")
def ada(shop):
    return someone(shop)


@pytest.fixture(scope="module")
def eve(shop):
    return someone(shop)


def someone(shop, **more):
    person = member(shop, **more)
    person.headers = shop.bearer(person.role, person.id)
    return person


class TestProfile:
    def test_says_who_is_signed_in(self, shop, ada):
        answer = ada.call("GET", "/v1/me")
        assert answer.status_code == 200
        found = answer.json()
        assert {k: found[k] for k in ("id", "email", "name", "role")} == {
            "id": ada.id,
            "email": ada.email,
            "name": ada.name,
            "role": "customer",
        }
        assert found["created_at"].endswith("Z")
        assert answer.headers["etag"] == f'"{found["version"]}"'
        assert "password" not in answer.text

    def test_the_name_changes_and_the_version_with_it(self, shop):
        person = someone(shop)
        answer = person.call("PATCH", "/v1/me", {"name": "  Ada Lovelace "})
        assert answer.status_code == 200
        assert (answer.json()["name"], answer.json()["version"]) == ("Ada Lovelace", 2)
        assert person.call("GET", "/v1/me").json() == answer.json()

    def test_a_stale_version_is_412(self, shop):
        person = someone(shop)
        assert person.call("PATCH", "/v1/me", {"name": "B"}, If_Match='"1"').status_code == 200
        stale = person.call("PATCH", "/v1/me", {"name": "C"}, If_Match='"1"')
        assert (stale.status_code, stale.json()["version"]) == (412, 2)
        assert person.call("PATCH", "/v1/me", {"name": "C"}, If_Match="nonsense").status_code == 400
        assert person.call("PATCH", "/v1/me", {"name": "D"}, If_Match="*").status_code == 200

    def test_of_twenty_at_once_with_one_version_one_wins(self, shop):
        person = someone(shop)
        answers = at_once(
            [lambda i=i: person.call("PATCH", "/v1/me", {"name": f"N{i}"}, If_Match='"1"') for i in range(20)]
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 19

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"name": None},
            {"name": ""},
            {"name": " "},
            {"name": "a\u0000b"},
            {"name": "\ud800"},
            {"name": "x" * 201},
            {"name": 1},
            {"name": "A", "role": "admin"},
            {"name": "A", "email": "other@example.com"},
            {"name": "A", "is_verified": True},
        ],
    )
    def test_nothing_else_can_be_changed(self, ada, body):
        content = json.dumps(body)
        answer = ada.shop.http.patch(
            f"{ada.url}/v1/me", content=content, headers={**ada.headers, "Content-Type": "application/json"}
        )
        assert answer.status_code == 422, answer.text

    def test_is_for_people(self, shop):
        assert shop.get("/v1/me").status_code == 401
        assert shop.get("/v1/me", shop.bearer(Role.CUSTOMER, new_id("usr"))).status_code == 404

    def test_a_new_name_ends_no_session(self, shop):
        person = member(shop)
        person.login()
        assert person.call("PATCH", "/v1/me", {"name": "New"}).status_code == 200
        assert person.call("GET", "/v1/me").json()["name"] == "New"


class TestAddresses:
    def test_are_kept_changed_and_removed(self, shop):
        person = someone(shop)
        added = person.call("POST", "/v1/me/addresses", ADDRESSES["US"])
        assert added.status_code == 201, added.text
        address = added.json()
        assert {k: address[k] for k in ADDRESSES["US"]} == ADDRESSES["US"]
        assert address["id"].startswith("addr_")
        path = f"/v1/me/addresses/{address['id']}"
        changed = person.call("PATCH", path, {"line2": "Floor 3", "phone": None})
        assert changed.status_code == 200
        assert changed.json() == {**address, "line2": "Floor 3", "phone": None}
        assert person.call("GET", "/v1/me/addresses").json() == {"items": [changed.json()], "next_cursor": None}
        assert person.call("DELETE", path).status_code == 204
        assert person.call("DELETE", path).status_code == 404
        assert person.call("GET", "/v1/me/addresses").json()["items"] == []

    @pytest.mark.parametrize("country", sorted(ADDRESSES))
    def test_of_every_country_come_back_as_a_cart_takes_them(self, shop, ada, country):
        added = ada.call("POST", "/v1/me/addresses", ADDRESSES[country]).json()
        taken = {k: v for k, v in added.items() if k != "id"}
        assert shop.visitor(country=country).change("PUT", "/shipping-address", taken)["shipping_address"] == taken

    def test_are_checked_by_their_country(self, ada):
        answer = ada.call("POST", "/v1/me/addresses", {**ADDRESSES["US"], "postal_code": "1234", "region": "XX"})
        assert answer.status_code == 422
        assert {e["pointer"] for e in answer.json()["errors"]} == {"/postal_code", "/region"}

    def test_a_change_is_checked_with_what_stays(self, shop):
        person = someone(shop)
        path = f"/v1/me/addresses/{person.call('POST', '/v1/me/addresses', ADDRESSES['US']).json()['id']}"
        before = person.call("GET", "/v1/me/addresses").json()
        moved = person.call("PATCH", path, {"country": "GB"})
        assert moved.status_code == 422
        for body in ({"line1": None}, {"name": ""}, {"id": "addr_1"}, {"user_id": "usr_1"}, {"country": "usa"}):
            assert person.call("PATCH", path, body).status_code == 422, body
        assert person.call("GET", "/v1/me/addresses").json() == before
        whole = {**ADDRESSES["DE"], "region": None, "phone": None}
        assert person.call("PATCH", path, whole).json()["country"] == "DE"

    def test_anothers_are_not_found(self, ada, eve):
        path = f"/v1/me/addresses/{ada.call('POST', '/v1/me/addresses', ADDRESSES['US']).json()['id']}"
        assert eve.call("PATCH", path, {"city": "Oakland"}).status_code == 404
        assert eve.call("DELETE", path).status_code == 404
        assert eve.call("PATCH", "/v1/me/addresses/addr_none", {"city": "Oakland"}).status_code == 404
        assert path.rsplit("/", 1)[1] not in eve.call("GET", "/v1/me/addresses").text

    def test_come_in_pages(self, shop):
        person = someone(shop)
        ids = [person.call("POST", "/v1/me/addresses", ADDRESSES["KW"]).json()["id"] for _ in range(5)]
        seen, cursor = [], None
        while True:
            query = "?limit=2" + (f"&cursor={cursor}" if cursor else "")
            page = person.call("GET", f"/v1/me/addresses{query}").json()
            assert len(page["items"]) <= 2
            seen += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == sorted(ids)
        assert person.call("GET", "/v1/me/addresses?cursor=nonsense").status_code == 400

    def test_are_fifty_at_most_however_many_come_at_once(self, shop):
        person = someone(shop)
        shop.sql(
            "INSERT INTO customer_addresses (id, user_id, address)"
            " SELECT 'addr_' || :id || n, :id, CAST(:address AS jsonb) FROM generate_series(1, 45) n",
            id=person.id,
            address=json.dumps(ADDRESSES["KW"]),
        )
        answers = at_once([lambda: person.call("POST", "/v1/me/addresses", ADDRESSES["KW"])] * 12)
        assert sorted(answer.status_code for answer in answers) == [201] * 5 + [409] * 7
        assert slug(next(answer for answer in answers if answer.status_code == 409)) == "conflict"


class TestPreferences:
    PATH = "/v1/me/notification-preferences"

    def test_marketing_is_off_until_asked_for(self, shop):
        person = someone(shop)
        found = person.call("GET", self.PATH).json()
        assert found["email"] == {"orders": True, "payments": True, "marketing": False, "security": True}
        assert set(found) == {"email", "sms", "push", "realtime"}
        changed = person.call("PATCH", self.PATH, {"email": {"marketing": True}, "sms": {"orders": False}})
        assert changed.status_code == 200
        assert changed.json()["email"]["marketing"] is True
        assert changed.json()["sms"] == {"orders": False, "payments": True, "marketing": False, "security": True}
        assert person.call("PATCH", self.PATH, {"push": {"orders": False}}).json()["email"]["marketing"] is True
        assert person.call("GET", self.PATH).json()["push"]["orders"] is False

    def test_consent_can_be_proven(self, shop):
        person = someone(shop)
        for wanted in (True, True, False):
            person.call("PATCH", self.PATH, {"email": {"marketing": wanted}})
        rows = shop.sql(
            "SELECT actor_id, data FROM audit_log WHERE subject = :id AND action = 'preferences.changed'"
            " ORDER BY number",
            id=person.id,
        )
        assert [(row.actor_id, row.data) for row in rows] == [
            (person.id, {"email.marketing": True}),
            (person.id, {"email.marketing": False}),
        ]

    def test_security_cant_be_turned_off(self, ada):
        answer = ada.call("PATCH", self.PATH, {"sms": {"security": False, "orders": False}})
        assert answer.status_code == 422
        assert [e["pointer"] for e in answer.json()["errors"]] == ["/sms/security"]
        assert ada.call("GET", self.PATH).json()["sms"]["orders"] is True

    @pytest.mark.parametrize(
        "body",
        [
            {"fax": {}},
            {"email": {"gossip": True}},
            {"email": None},
            {"email": {"orders": None}},
            {"email": {"orders": 1}},
        ],
    )
    def test_nothing_else_can_be_chosen(self, ada, body):
        assert ada.call("PATCH", self.PATH, body).status_code == 422

    def test_choices_made_at_once_all_hold(self, shop):
        person = someone(shop)
        chosen = [(c, t) for c in ("email", "sms", "push", "realtime") for t in ("orders", "payments")]
        at_once([lambda c=c, t=t: person.call("PATCH", self.PATH, {c: {t: False}}) for c, t in chosen])
        found = person.call("GET", self.PATH).json()
        assert not any(found[c][t] for c, t in chosen)
