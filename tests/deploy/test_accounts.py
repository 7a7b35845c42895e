"""The first admin is invited from the command line; the demo shop has one of each role, and production none."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from deploy.cli import main as cli
from deploy.cli.staff import invite
from deploy.demo.accounts import seed_accounts
from deploy.demo.people import EMAILS
from deploy.demo.seed import seed
from deploy.errors import StackError
from models.accounts.access import Role
from models.db.session import Database
from runtime.settings import Environment
from tests.fixtures.mailbox import Mailbox
from tests.fixtures.people import PASSWORD, member


@pytest.fixture
def no_admin(shop):
    """For a while nobody is one."""
    admins = [row.id for row in shop.sql("UPDATE users SET role = 'customer' WHERE role = 'admin' RETURNING id")]
    yield
    shop.sql("UPDATE users SET role = 'customer' WHERE role = 'admin'")
    shop.sql("UPDATE users SET role = 'admin' WHERE id = ANY(:ids)", ids=admins)


@pytest.fixture
def production(shop):
    return shop.settings.model_copy(update={"env": Environment.PRODUCTION})


class TestTheFirstAdmin:
    def test_is_invited_by_mail_and_nothing_secret_is_printed(self, shop, no_admin, production):
        reader = Mailbox(shop)
        told = invite(production, reader.email, "admin")
        token = reader.token("you are invited")
        assert reader.email in told
        assert token not in told
        answer = reader.post("/invitations/accept", {"token": token, "name": "First", "password": PASSWORD})
        assert answer.json()["user"]["role"] == "admin"
        (row,) = shop.sql(
            "SELECT actor_type FROM audit_log WHERE action = 'staff.invited' ORDER BY number DESC LIMIT 1"
        )
        assert row.actor_type == "system"

    def test_invites_the_others_in_production(self, shop, production):
        member(shop, role=Role.ADMIN)
        with pytest.raises(StackError, match="there is an admin already"):
            invite(production, Mailbox(shop).email, "admin")

    def test_may_have_company_in_development(self, shop):
        member(shop, role=Role.ADMIN)
        assert "support" in invite(shop.settings, Mailbox(shop).email, "support")

    def test_who_was_disabled_is_none(self, shop, no_admin, production):
        member(shop, role=Role.ADMIN, disabled=True)
        assert invite(production, Mailbox(shop).email, "admin")

    def test_needs_an_address_and_a_role(self, shop):
        with pytest.raises(StackError, match="is not an e-mail address"):
            invite(shop.settings, "nobody", "admin")
        for role in ("king", "customer"):
            with pytest.raises(StackError, match=f"there is no staff role {role}"):
                invite(shop.settings, "a@example.com", role)
        with pytest.raises(StackError, match="is staff already"):
            invite(shop.settings, member(shop, role=Role.SUPPORT).email, "admin")

    def test_command_is_one_line(self, shop, monkeypatch):
        monkeypatch.setattr(cli, "read_settings", lambda: shop.settings)
        email = Mailbox(shop).email
        done = CliRunner().invoke(cli.app, ["staff", "invite", "--email", email, "--role", "warehouse"])
        assert done.exit_code == 0
        assert done.output == f"An invitation to be warehouse goes to {email} as soon as a worker runs.\n"


class TestDemoAccounts:
    @pytest.fixture
    def database(self, shop):
        database = Database(shop.settings.database, pool_size=1)
        shop.sql("UPDATE users SET role = 'admin' WHERE email = :email", email=EMAILS[Role.ADMIN])
        yield database
        shop.sql("UPDATE users SET role = 'customer' WHERE email = :email", email=EMAILS[Role.ADMIN])
        database.close()

    def rows(self, shop):
        return shop.sql(
            "SELECT id, email, role, password_hash, version FROM users WHERE email = ANY(:emails) ORDER BY email",
            emails=list(EMAILS.values()),
        )

    def test_are_one_of_each_role_and_sign_in_with_the_setting(self, shop, database):
        seed_accounts(shop.settings, database)
        assert {row.role: row.email for row in self.rows(shop)} == EMAILS
        reader = Mailbox(shop, EMAILS[Role.WAREHOUSE])
        answer = reader.login(shop.settings.demo_password.get_secret_value())
        assert answer.json()["user"]["role"] == "warehouse"

    def test_a_second_time_changes_nothing_and_another_password_only_that(self, shop, database):
        seed_accounts(shop.settings, database)
        first = self.rows(shop)
        seed_accounts(shop.settings, database)
        assert self.rows(shop) == first
        other = shop.settings.model_copy(
            update={"demo_password": type(shop.settings.demo_password)("another demo password")}
        )
        seed_accounts(other, database)
        assert [row.id for row in self.rows(shop)] == [row.id for row in first]
        assert Mailbox(shop, EMAILS[Role.SUPPORT]).login("another demo password").status_code == 200

    def test_are_not_made_in_production(self, shop, production, database):
        for make in (lambda: seed_accounts(production, database), lambda: seed(production)):
            with pytest.raises(StackError, match="production"):
                make()
