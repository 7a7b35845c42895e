"""Staff: invited by mail, changed at once, never without an admin."""

from __future__ import annotations

import itertools

import pyotp
import pytest

from models.accounts.access import SCOPES, Role, Scope
from runtime.settings import Environment
from tests.fixtures.mailbox import Mailbox
from tests.fixtures.people import PASSWORD, member
from tests.fixtures.shop import at_once, slug

SUBJECT = "you are invited"


@pytest.fixture(scope="module")
def admin(shop):
    admin = member(shop, role=Role.ADMIN)
    admin.login()
    return admin


@pytest.fixture(scope="module")
def invite(shop, admin):
    """Invites somebody; the token of their mail."""
    counts = {}

    def act(reader, role=Role.WAREHOUSE, *, by=admin):
        answer = by.call("POST", "/v1/staff/invitations", {"email": reader.email, "role": role})
        assert answer.status_code == 202, answer.text
        assert answer.json() == {"status": "invitation_sent"}
        counts[reader.email] = counts.get(reader.email, 0) + 1
        return reader.token(SUBJECT, number=counts[reader.email])

    return act


def accept(reader, token, **more):
    return reader.post("/invitations/accept", {"token": token, **more})


NEW = {"name": "Grace Hopper", "password": PASSWORD}


class TestAnInvitation:
    def test_of_somebody_new_begins_their_account(self, shop, admin, invite):
        reader = Mailbox(shop)
        token = invite(reader)
        assert f"{shop.settings.storefront_url}/accept-invitation?token=" in reader.mail(SUBJECT)["text"]
        answer = accept(reader, token, **NEW)
        assert answer.status_code == 200, answer.text
        assert answer.json().keys() >= {"access_token", "refresh_token", "token_type", "expires_in", "user"}
        assert answer.json()["user"]["role"] == "warehouse"
        bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        assert shop.get("/v1/inventory/HF-TRAIL-JKT-S-RED", bearer).status_code == 200
        assert reader.login().status_code == 200

    def test_of_somebody_new_needs_name_and_password(self, shop, invite):
        reader = Mailbox(shop)
        token = invite(reader)
        answer = accept(reader, token)
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/name", "/password"]
        assert slug(accept(reader, token, name="Grace", password="password1234")) == "password-refused"
        assert accept(reader, token, **NEW).status_code == 200  # none of these used it up

    def test_of_a_customer_keeps_the_password_and_ends_what_they_had_open(self, shop, invite):
        customer = member(shop, password="a password of their own")
        before = customer.login()
        answer = accept(Mailbox(shop, customer.email), invite(Mailbox(shop, customer.email), Role.SUPPORT))
        assert answer.status_code == 200, answer.text
        assert answer.json()["user"]["id"] == customer.id
        assert shop.get("/v1/orders", before).status_code == 401
        customer.login()
        assert customer.last["user"]["role"] == "support"

    def test_of_a_customer_takes_no_other_password(self, shop, invite):
        customer = member(shop)
        reader = Mailbox(shop, customer.email)
        assert accept(reader, invite(reader), name="X", password="quite another password").status_code == 200
        assert customer.try_login().json()["user"]["name"] == customer.name

    def test_does_not_pass_a_second_factor_by(self, shop, invite):
        customer = member(shop)
        customer.login()
        totp = pyotp.TOTP(customer.call("POST", "/v1/me/totp").json()["secret"])
        recovery = customer.call("POST", "/v1/me/totp/confirm", {"code": totp.now()}).json()["recovery_codes"]
        reader = Mailbox(shop, customer.email)
        token = invite(reader)
        assert slug(accept(reader, token)) == "second-factor-required"
        assert slug(accept(reader, token, code="000000")) == "invalid-credentials"
        assert accept(reader, token, code=recovery[0]).status_code == 200

    def test_is_good_once(self, shop, invite):
        reader = Mailbox(shop)
        token = invite(reader)
        answers = at_once([lambda: accept(reader, token, **NEW)] * 4)
        assert sorted(answer.status_code for answer in answers) == [200, 410, 410, 410]
        assert slug(accept(reader, token, **NEW)) == "gone"

    def test_is_replaced_by_a_newer_one(self, shop, invite):
        reader = Mailbox(shop)
        first, second = invite(reader, Role.ADMIN), invite(reader, Role.WAREHOUSE)
        assert accept(reader, first, **NEW).status_code == 410
        assert accept(reader, second, **NEW).json()["user"]["role"] == "warehouse"

    def test_expires(self, shop, invite):
        reader = Mailbox(shop)
        token = invite(reader)
        shop.sql("UPDATE links SET expires_at = now() WHERE email = :email", email=reader.email)
        assert accept(reader, token, **NEW).status_code == 410

    def test_can_be_seen_and_withdrawn_until_it_is_accepted(self, shop, admin, invite):
        reader, other = Mailbox(shop), Mailbox(shop)
        token, accepted = invite(reader, Role.ADMIN), invite(other)
        assert accept(other, accepted, **NEW).status_code == 200
        seen, cursor = {}, ""
        for _ in range(100):
            page = admin.call("GET", f"/v1/staff/invitations?limit=2{cursor}").json()
            seen |= {one["email"]: one for one in page["items"]}
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert other.email not in seen
        assert seen[reader.email]["role"] == "admin"
        path = f"/v1/staff/invitations/{seen[reader.email]['id']}"
        assert admin.call("DELETE", path).status_code == 204
        assert accept(reader, token, **NEW).status_code == 410
        assert admin.call("DELETE", path).status_code == 404
        assert admin.call("DELETE", "/v1/staff/invitations/link_none").status_code == 404

    def test_of_somebody_who_was_disabled_is_gone(self, shop, invite):
        customer = member(shop)
        reader = Mailbox(shop, customer.email)
        token = invite(reader)
        shop.sql("UPDATE users SET disabled_at = now() WHERE id = :id", id=customer.id)
        assert accept(reader, token).status_code == 410

    def test_is_not_another_links_token(self, shop, invite):
        reader = Mailbox(shop)
        token = invite(reader)
        assert reader.confirm(token).status_code == 410
        assert reader.reset(token, PASSWORD).status_code == 410
        assert accept(reader, "x" * 43, **NEW).status_code == 410

    def test_in_production_leads_to_a_second_factor(self, shop, invite):
        reader = Mailbox(shop, url=shop.api(env=Environment.PRODUCTION))
        tokens = accept(reader, invite(reader, Role.ADMIN), **NEW).json()
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert shop.http.get(f"{reader.url}/v1/staff", headers=bearer).status_code == 403
        assert shop.http.post(f"{reader.url}/v1/me/totp", headers=bearer).status_code == 201
        shop.sql("UPDATE users SET disabled_at = now() WHERE email = :email", email=reader.email)

    def test_is_not_sent_more_often_than_so_many_times_an_hour(self, shop, admin):
        body = {"email": Mailbox(shop).email, "role": "support"}
        answers = [admin.call("POST", "/v1/staff/invitations", body) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [202] * 5 + [429]

    @pytest.mark.parametrize("role", ["customer", "king", None, ""])
    def test_is_to_a_role_of_the_staff(self, shop, admin, role):
        body = {"email": Mailbox(shop).email, "role": role}
        assert admin.call("POST", "/v1/staff/invitations", body).status_code == 422

    def test_of_who_is_staff_is_refused(self, shop, admin):
        clerk = member(shop, role=Role.SUPPORT)
        body = {"email": clerk.email.upper(), "role": "admin"}
        assert slug(admin.call("POST", "/v1/staff/invitations", body)) == "conflict"

    def test_gives_no_more_than_the_inviter_has(self, shop, admin):
        body = {"name": "hr", "scopes": [Scope.USERS_WRITE, *SCOPES[Role.WAREHOUSE]]}
        key = {"Authorization": f"Bearer {admin.call('POST', '/v1/api-keys', body).json()['key']}"}
        email = Mailbox(shop).email
        assert slug(shop.post("/v1/staff/invitations", {"email": email, "role": "admin"}, key)) == "forbidden"
        assert shop.post("/v1/staff/invitations", {"email": email, "role": "warehouse"}, key).status_code == 202
        clerk = member(shop, role=Role.WAREHOUSE)
        answer = shop.http.patch(f"{shop.url}/v1/staff/{clerk.id}", json={"role": "admin"}, headers=key)
        assert slug(answer) == "forbidden"

    def test_and_its_acceptance_are_in_the_audit_log_without_the_address(self, shop, admin, invite):
        reader = Mailbox(shop)
        user = accept(reader, invite(reader), **NEW).json()["user"]
        rows = admin.call("GET", f"/v1/audit?subject={user['id']}").json()["items"]
        assert [row["action"] for row in rows] == ["session.started", "staff.joined", "staff.invited"]
        assert (rows[2]["actor"]["id"], rows[2]["data"]) == (admin.id, {"role": "warehouse"})
        assert reader.email not in str(rows)


class TestTheList:
    def test_has_everybody_but_customers(self, shop, admin):
        customer, clerk = member(shop), member(shop, role=Role.SUPPORT, disabled=True)
        found, cursor = {}, ""
        for _ in range(100):
            page = admin.call("GET", f"/v1/staff?limit=3{cursor}").json()
            found |= {one["id"]: one for one in page["items"]}
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert customer.id not in found
        assert found[admin.id]["role"] == "admin"
        assert found[clerk.id] | {"created_at": ""} == {
            "id": clerk.id,
            "email": clerk.email,
            "name": clerk.name,
            "role": "support",
            "second_factor": False,
            "disabled": True,
            "created_at": "",
        }


class TestAChange:
    def change(self, admin, person, **body):
        return admin.call("PATCH", f"/v1/staff/{person.id}", body)

    def test_of_role_ends_their_sessions_and_holds_at_the_next_sign_in(self, shop, admin):
        clerk = member(shop, role=Role.WAREHOUSE)
        before = clerk.login()
        answer = self.change(admin, clerk, role="support")
        assert answer.status_code == 200
        assert answer.json()["role"] == "support"
        assert shop.get("/v1/orders", before).status_code == 401
        clerk.login()
        assert clerk.call("GET", "/v1/orders").status_code == 200
        assert Mailbox(shop, clerk.email).mail()  # they are told

    def test_that_disables_them_is_at_once_and_can_be_taken_back(self, shop, admin):
        clerk = member(shop, role=Role.SUPPORT)
        before = clerk.login()
        assert self.change(admin, clerk, disabled=True).json()["disabled"] is True
        assert shop.get("/v1/orders", before).status_code == 401
        assert clerk.try_login().status_code == 401
        assert self.change(admin, clerk, disabled=False).status_code == 200
        assert shop.get("/v1/orders", before).status_code == 401  # its sessions don't come back
        clerk.login()

    def test_to_customer_leaves_an_account(self, shop, admin):
        clerk = member(shop, role=Role.SUPPORT)
        assert self.change(admin, clerk, role="customer").json()["role"] == "customer"
        assert clerk.try_login().json()["user"]["role"] == "customer"
        assert self.change(admin, clerk, role="support").status_code == 404

    def test_of_nothing_changes_nothing(self, shop, admin):
        clerk = member(shop, role=Role.SUPPORT)
        before = clerk.login()
        assert self.change(admin, clerk).status_code == 200
        assert self.change(admin, clerk, role="support", disabled=False).status_code == 200
        assert shop.get("/v1/orders", before).status_code == 200

    def test_of_nobody_is_not_found(self, shop, admin):
        assert self.change(admin, member(shop), role="support").status_code == 404
        answer = admin.call("PATCH", "/v1/staff/usr_none", {"disabled": True})
        assert answer.status_code == 404

    @pytest.mark.parametrize("body", [{"role": "king"}, {"disabled": "yes"}, {"email": "a@example.com"}, {"name": "x"}])
    def test_that_makes_no_sense_is_refused(self, shop, admin, body):
        assert self.change(admin, member(shop, role=Role.SUPPORT), **body).status_code == 422

    def test_is_in_the_audit_log(self, shop, admin):
        clerk = member(shop, role=Role.WAREHOUSE)
        self.change(admin, clerk, role="support", disabled=True)
        self.change(admin, clerk, disabled=False)
        rows = admin.call("GET", f"/v1/audit?subject={clerk.id}").json()["items"][::-1]
        assert [row["action"] for row in rows] == ["staff.role_changed", "staff.disabled", "staff.enabled"]
        assert rows[0]["data"] == {"before": "warehouse", "after": "support"}
        assert {row["actor"]["id"] for row in rows} == {admin.id}


class TestTheLastAdmin:
    """The shop's other admins step back for these: nobody else may be one."""

    @pytest.fixture
    def two(self, shop):
        others = shop.sql("SELECT id FROM users WHERE role = 'admin'")
        shop.sql("UPDATE users SET role = 'customer' WHERE role = 'admin'")
        two = member(shop, role=Role.ADMIN), member(shop, role=Role.ADMIN)
        for admin in two:
            admin.login()
        yield two
        for admin in two:
            shop.sql("UPDATE users SET role = 'customer' WHERE id = :id", id=admin.id)
        for row in others:
            shop.sql("UPDATE users SET role = 'admin' WHERE id = :id", id=row.id)

    def admins(self, shop):
        ((count,),) = shop.sql("SELECT count(*) FROM users WHERE role = 'admin' AND disabled_at IS NULL")
        return count

    def test_can_be_neither_demoted_nor_disabled(self, shop, two):
        one, other = two
        assert one.call("PATCH", f"/v1/staff/{other.id}", {"role": "support"}).status_code == 200
        for body in ({"role": "support"}, {"disabled": True}, {"role": "customer"}):
            assert slug(one.call("PATCH", f"/v1/staff/{one.id}", body)) == "conflict"
        assert self.admins(shop) == 1

    @pytest.mark.parametrize("one_disabled", [True, False])
    def test_is_one_who_can_sign_in(self, shop, two, one_disabled):
        one, other = two
        column = "disabled_at = now()" if one_disabled else "verified_at = NULL"
        shop.sql(f"UPDATE users SET {column} WHERE id = :id", id=other.id)
        assert one.call("PATCH", f"/v1/staff/{one.id}", {"role": "support"}).status_code == 409

    @pytest.mark.parametrize("bodies", list(itertools.product([{"role": "support"}, {"disabled": True}], repeat=2)))
    def test_is_left_when_two_demote_each_other_at_once(self, shop, two, bodies):
        one, other = two
        answers = at_once(
            [
                lambda: one.call("PATCH", f"/v1/staff/{other.id}", bodies[0]),
                lambda: other.call("PATCH", f"/v1/staff/{one.id}", bodies[1]),
            ]
        )
        # The slower one finds their own session ended, or nobody else left.
        assert sorted(answer.status_code for answer in answers)[0] == 200
        assert {answer.status_code for answer in answers} <= {200, 401, 409}
        assert self.admins(shop) == 1

    def test_is_left_when_two_step_back_at_once(self, shop, two):
        answers = at_once(
            [lambda admin=admin: admin.call("PATCH", f"/v1/staff/{admin.id}", {"role": "support"}) for admin in two]
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        assert self.admins(shop) == 1
