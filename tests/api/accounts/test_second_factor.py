"""The second factor: not in force before a first code, each code good once, required of staff in production."""

from __future__ import annotations

import re
import time
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest

from activities.gateways.secrets import Vault
from models.accounts.access import Role
from models.accounts.accounts import account_key
from runtime.settings import Environment
from tests.fixtures.people import member
from tests.fixtures.shop import at_once, slug


class Authenticator:
    """Somebody's phone: shows a code that has not been used yet."""

    def __init__(self, secret):
        self._totp = pyotp.TOTP(secret)
        self._step = 0

    def code(self):
        """Of a step later than the last one's, and not about to end; one ahead is still taken, others wait."""
        self._step = max(self._step + 1, int(time.time() + 1.5) // 30 - 1)
        while self._step > int(time.time()) // 30 + 1:
            time.sleep(0.2)
        return self._totp.at(self._step * 30)


@pytest.fixture
def person(shop):
    person = member(shop)
    person.login()
    return person


def enrol(person):
    """The authenticator and the recovery codes of somebody who has a second factor from now on."""
    proposed = person.call("POST", "/v1/me/totp")
    assert proposed.status_code == 201, proposed.text
    phone = Authenticator(proposed.json()["secret"])
    confirmed = person.call("POST", "/v1/me/totp/confirm", {"code": phone.code()})
    assert confirmed.status_code == 200, confirmed.text
    return phone, confirmed.json()["recovery_codes"]


class TestEnrolment:
    def test_a_proposal_is_an_authenticators_uri_and_not_in_force(self, shop, person):
        answer = person.call("POST", "/v1/me/totp")
        assert answer.status_code == 201
        assert answer.headers["cache-control"] == "no-store"
        proposed = answer.json()
        uri = urlsplit(proposed["uri"])
        asked = parse_qs(uri.query)
        assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
        assert (asked["secret"], asked["issuer"]) == ([proposed["secret"]], [shop.settings.shop_name])
        assert len(proposed["secret"]) == 32  # 160 bits, as RFC 4226 recommends
        assert person.try_login().status_code == 200

    def test_the_secret_is_sealed_in_the_database(self, shop, person):
        secret = person.call("POST", "/v1/me/totp").json()["secret"]
        ((stored,),) = shop.sql("SELECT totp_secret FROM users WHERE id = :id", id=person.id)
        assert secret.encode() not in bytes(stored)

    def test_a_first_code_brings_it_into_force(self, person):
        _, recovery = enrol(person)
        assert len(set(recovery)) == 10
        assert all(re.fullmatch(r"([a-z2-9]{4}-){3}[a-z2-9]{4}", code) for code in recovery)
        assert slug(person.try_login()) == "second-factor-required"
        assert slug(person.call("POST", "/v1/me/totp")) == "conflict"

    def test_recovery_codes_are_stored_hashed(self, shop, person):
        _, recovery = enrol(person)
        ((stored,),) = shop.sql("SELECT recovery_digests::text FROM users WHERE id = :id", id=person.id)
        assert not any(code.replace("-", "").encode().hex() in stored for code in recovery)

    def test_a_wrong_code_does_not(self, person):
        person.call("POST", "/v1/me/totp")
        answer = person.call("POST", "/v1/me/totp/confirm", {"code": "000000"})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/code"
        assert person.try_login().status_code == 200

    def test_the_code_of_a_replaced_proposal_does_not(self, person):
        first = Authenticator(person.call("POST", "/v1/me/totp").json()["secret"])
        person.call("POST", "/v1/me/totp")
        assert person.call("POST", "/v1/me/totp/confirm", {"code": first.code()}).status_code == 422

    def test_without_a_proposal_there_is_nothing_to_confirm(self, person):
        assert person.call("POST", "/v1/me/totp/confirm", {"code": "123456"}).status_code == 422

    def test_two_confirmations_at_once_give_one_set_of_recovery_codes(self, person):
        phone = Authenticator(person.call("POST", "/v1/me/totp").json()["secret"])
        code = phone.code()
        answers = at_once([lambda: person.call("POST", "/v1/me/totp/confirm", {"code": code})] * 6)
        assert sorted(answer.status_code for answer in answers)[0] == 200
        assert [answer.status_code for answer in answers].count(200) == 1

    def test_wrong_codes_are_throttled(self, shop, person):
        person.call("POST", "/v1/me/totp")
        answers = [person.call("POST", "/v1/me/totp/confirm", {"code": "000000"}) for _ in range(8)]
        assert answers[-1].status_code == 429
        assert slug(answers[-1]) == "too-many-attempts"

    def test_guests_and_machines_have_none(self, shop):
        assert shop.http.post(f"{shop.url}/v1/me/totp").status_code == 401


class TestSigningIn:
    def test_needs_a_code(self, person):
        phone, _ = enrol(person)
        assert person.try_login(code="000000").status_code == 401
        answer = person.try_login(code=phone.code())
        assert answer.status_code == 200
        assert answer.json()["user"]["second_factor"] is True

    def test_a_code_counts_once(self, person):
        phone, _ = enrol(person)
        code = phone.code()
        assert person.try_login(code=code).status_code == 200
        assert person.try_login(code=code).status_code == 401

    def test_the_code_that_enrolled_does_not_sign_in(self, person):
        phone = Authenticator(person.call("POST", "/v1/me/totp").json()["secret"])
        code = phone.code()
        assert person.call("POST", "/v1/me/totp/confirm", {"code": code}).status_code == 200
        assert person.try_login(code=code).status_code == 401

    def test_a_secret_sealed_under_another_key_is_a_wrong_code(self, shop, person):
        phone, _ = enrol(person)
        sealed = Vault("another installation's secret, long enough").seal(pyotp.random_base32())
        shop.sql("UPDATE users SET totp_secret = :sealed WHERE id = :id", sealed=sealed, id=person.id)
        assert slug(person.try_login(code=phone.code())) == "invalid-credentials"

    def test_an_earlier_code_than_the_last_is_not_taken(self, shop, person):
        secret = person.call("POST", "/v1/me/totp").json()["secret"]
        totp, now = pyotp.TOTP(secret), int(time.time())
        assert person.call("POST", "/v1/me/totp/confirm", {"code": totp.at(now + 30)}).status_code == 200
        assert person.try_login(code=totp.at(now)).status_code == 401

    def test_a_clock_may_be_one_step_off_and_no_more(self, shop, person):
        secret = person.call("POST", "/v1/me/totp").json()["secret"]
        for steps, right in ((-3, False), (3, False), (-1, True)):
            begun = int(time.time()) // 30
            code = pyotp.TOTP(secret).at((begun + steps) * 30)
            answer = person.call("POST", "/v1/me/totp/confirm", {"code": code})
            if int(time.time()) // 30 == begun:  # else the step has ended in between
                assert (answer.status_code == 200) is right, steps

    def test_one_code_at_once_signs_in_once(self, person):
        phone, _ = enrol(person)
        code = phone.code()
        answers = at_once([lambda: person.try_login(code=code)] * 4)
        assert [answer.status_code for answer in answers].count(200) == 1

    def test_a_recovery_code_counts_once_also_at_once(self, person):
        _, recovery = enrol(person)
        typed = recovery[3].replace("-", " ").upper()
        answers = at_once([lambda: person.try_login(code=typed)] * 4)
        assert [answer.status_code for answer in answers].count(200) == 1
        assert person.try_login(code=recovery[4]).status_code == 200

    def test_anothers_recovery_code_does_not(self, shop, person):
        _, recovery = enrol(person)
        other = member(shop)
        other.login()
        enrol(other)
        assert other.try_login(code=recovery[0]).status_code == 401


class TestRemoval:
    def test_needs_the_password_and_a_code(self, shop, person):
        phone, recovery = enrol(person)

        def remove(**body):
            return person.call("DELETE", "/v1/me/totp", body)

        assert slug(remove(password="wrong", code=recovery[0])) == "invalid-credentials"
        assert slug(remove(code=recovery[0])) == "invalid-credentials"
        assert slug(remove(password=person.password, code="000000")) == "invalid-credentials"
        assert person.try_login().status_code == 401
        assert remove(password=person.password, code=recovery[0]).status_code == 204  # not spent by the wrong password
        assert person.try_login().status_code == 200
        assert person.try_login(code=phone.code()).status_code == 200  # nobody asks for it
        assert remove(password=person.password, code=recovery[1]).status_code == 404

    def test_who_signs_in_elsewhere_has_no_password_to_give(self, shop, person):
        _, recovery = enrol(person)
        shop.sql("UPDATE users SET password_hash = NULL WHERE id = :id", id=person.id)
        assert person.call("DELETE", "/v1/me/totp", {"code": recovery[0]}).status_code == 204

    def test_guesses_are_throttled(self, shop, person):
        enrol(person)
        body = {"password": person.password, "code": "000000"}
        answers = [person.call("DELETE", "/v1/me/totp", body) for _ in range(8)]
        assert answers[-1].status_code == 429

    def test_ends_with_the_failures_that_an_account_has(self, shop, person):
        _, recovery = enrol(person)
        shop.sql("UPDATE users SET password_hash = NULL WHERE id = :id", id=person.id)
        shop.sql(
            "INSERT INTO login_failures (account_key, address_range, failures) VALUES (:key, '*', :ceiling)"
            " ON CONFLICT (account_key, address_range) DO UPDATE SET failures = :ceiling",
            key=account_key(person.email),
            ceiling=shop.settings.login_failures_ceiling,
        )
        answer = person.call("DELETE", "/v1/me/totp", {"code": recovery[0]})
        assert slug(answer) == "invalid-credentials"

    def test_both_are_in_the_audit_log(self, shop, person):
        _, recovery = enrol(person)
        person.call("DELETE", "/v1/me/totp", {"password": person.password, "code": recovery[0]})
        rows = shop.sql("SELECT action, actor_id FROM audit_log WHERE subject = :id ORDER BY number", id=person.id)
        told = [tuple(row) for row in rows if row.action.startswith("second_factor.")]
        assert told == [("second_factor.enrolled", person.id), ("second_factor.removed", person.id)]


class TestStaffInProduction:
    """An API of its own with production's rules, over the tests' engines."""

    @pytest.fixture
    def admin(self, shop):
        return member(shop, role=Role.ADMIN, url=shop.api(env=Environment.PRODUCTION))

    def test_may_only_enrol_before_they_have(self, shop, admin):
        admin.login()
        refused = admin.call("GET", "/v1/api-keys")
        assert slug(refused) == "forbidden"
        assert "second factor" in refused.json()["detail"]
        enrol(admin)
        assert admin.call("GET", "/v1/api-keys").status_code == 200  # the same session, lifted

    def test_another_session_that_waited_still_waits(self, shop, admin):
        waiting = admin.login()
        admin.login()
        enrol(admin)
        answer = shop.http.get(f"{admin.url}/v1/api-keys", headers=waiting)
        assert answer.status_code == 403

    def test_sign_in_with_all_scopes_afterwards(self, shop, admin):
        admin.login()
        phone, _ = enrol(admin)
        admin.login(code=phone.code())
        assert admin.call("GET", "/v1/api-keys").status_code == 200

    def test_may_nothing_again_once_it_is_removed(self, shop, admin):
        admin.login()
        _, recovery = enrol(admin)
        body = {"password": admin.password, "code": recovery[0]}
        assert admin.call("DELETE", "/v1/me/totp", body).status_code == 204
        assert admin.call("GET", "/v1/api-keys").status_code == 403
        enrol(admin)
        assert admin.call("GET", "/v1/api-keys").status_code == 200

    def test_customers_need_none(self, shop, admin):
        customer = member(shop, url=admin.url)
        customer.login()
        assert customer.call("POST", "/v1/carts").status_code == 201

    def test_a_token_without_a_session_is_nobodys(self, shop, admin):
        answer = shop.http.get(f"{admin.url}/v1/api-keys", headers=shop.bearer(Role.ADMIN))
        assert answer.status_code == 401
