"""Roles are sets of scopes; the least is the default."""

from __future__ import annotations

from models.accounts.access import SCOPES, Principal, Role, Scope


def test_every_role_has_its_scopes():
    assert set(SCOPES) == set(Role)


def test_a_customer_has_none_and_an_admin_all():
    assert SCOPES[Role.CUSTOMER] == frozenset()
    assert SCOPES[Role.ADMIN] == frozenset(Scope)


def test_nobody_but_the_warehouse_and_admins_ships():
    assert {role for role in Role if Scope.FULFILMENT_WRITE in SCOPES[role]} == {Role.WAREHOUSE, Role.ADMIN}


def test_nobody_but_support_and_admins_gives_money_back():
    assert {role for role in Role if Scope.REFUNDS_WRITE in SCOPES[role]} == {Role.SUPPORT, Role.ADMIN}


def test_a_principal_asks_its_role():
    assert Principal(user_id="usr_1", role=Role.SUPPORT).has(Scope.ORDERS_READ)
    assert not Principal(user_id="usr_1", role=Role.CUSTOMER).has(Scope.ORDERS_READ)


def test_a_machine_has_what_its_key_grants_and_a_waiting_session_nothing():
    machine = Principal(user_id="key_1", granted=frozenset({Scope.ORDERS_READ}))
    assert machine.has(Scope.ORDERS_READ)
    assert not machine.has(Scope.ORDERS_WRITE)
    assert not Principal(user_id="usr_1", role=Role.ADMIN, granted=frozenset()).has(Scope.ORDERS_READ)


def test_who_does_something_is_a_customer_staff_or_a_machine():
    assert Principal(user_id="key_1", granted=frozenset(Scope)).kind == "machine"
    assert {role: Principal(user_id="usr_1", role=role).kind for role in Role} == {
        role: "customer" if role is Role.CUSTOMER else "staff" for role in Role
    }
