"""Scopes and roles: a route requires a scope, never a role; a role is a set of scopes."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from models.base import Record


class Scope(StrEnum):
    ORDERS_READ = "orders:read"
    ORDERS_WRITE = "orders:write"
    REFUNDS_WRITE = "refunds:write"
    FULFILMENT_WRITE = "fulfilment:write"
    CATALOG_WRITE = "catalog:write"
    INVENTORY_READ = "inventory:read"
    INVENTORY_WRITE = "inventory:write"
    USERS_WRITE = "users:write"
    OPS_READ = "ops:read"
    CAMPAIGNS_WRITE = "campaigns:write"


class Role(StrEnum):
    CUSTOMER = "customer"
    SUPPORT = "support"
    WAREHOUSE = "warehouse"
    MERCHANDISER = "merchandiser"
    ADMIN = "admin"


SCOPES: dict[Role, frozenset[Scope]] = {
    Role.CUSTOMER: frozenset(),
    Role.SUPPORT: frozenset(
        {Scope.ORDERS_READ, Scope.ORDERS_WRITE, Scope.REFUNDS_WRITE, Scope.INVENTORY_READ, Scope.OPS_READ}
    ),
    Role.WAREHOUSE: frozenset({Scope.ORDERS_READ, Scope.FULFILMENT_WRITE, Scope.INVENTORY_READ, Scope.INVENTORY_WRITE}),
    Role.MERCHANDISER: frozenset(
        {Scope.CATALOG_WRITE, Scope.INVENTORY_READ, Scope.INVENTORY_WRITE, Scope.CAMPAIGNS_WRITE}
    ),
    Role.ADMIN: frozenset(Scope),
}


STAFF = frozenset(Role) - {Role.CUSTOMER}


class Principal(Record):
    """An authenticated caller: a user with a role and a session, or a machine with the scopes of its API key."""

    user_id: str  # or the key's id
    role: Role | None = None
    session_id: str | None = None
    granted: frozenset[Scope] | None = None  # instead of the role's scopes

    @property
    def scopes(self) -> frozenset[Scope]:
        if self.granted is not None:
            return self.granted
        return SCOPES[self.role] if self.role else frozenset()

    @property
    def kind(self) -> Literal["customer", "staff", "machine"]:
        """The actor type in the audit log and in order events."""
        if self.role is None:
            return "machine"
        return "staff" if self.role in STAFF else "customer"

    def has(self, scope: Scope) -> bool:
        return scope in self.scopes
