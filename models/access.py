"""Who may do what: routes ask for scopes, roles are sets of scopes, and nobody asks for a role."""

from __future__ import annotations

from enum import StrEnum

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


class Principal(Record):
    """A signed-in caller, as the token says."""

    user_id: str
    role: Role

    @property
    def scopes(self) -> frozenset[Scope]:
        return SCOPES[self.role]

    def has(self, scope: Scope) -> bool:
        return scope in self.scopes
