"""Caches tax and shipping rules for seconds, for pages and early refusals. Charges are priced from fresh rules."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from models.checkout.carts import Cart, Rules
from models.db.repositories.checkout import carts

if TYPE_CHECKING:
    from sqlalchemy import Connection

FRESH_SECONDS = 5.0
MOST = 1000


class RecentRules:
    """Cached by destination. A cart with discount codes is always read anew: uses and limits change with every
    checkout.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str | None], tuple[float, Rules]] = {}

    def read(self, connection: Connection, cart: Cart) -> Rules:
        if cart.discount_codes:
            return carts.read_rules(connection, cart)
        known = self._known.get(cart.destination)
        if known is not None and time.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        if len(self._known) >= MOST:
            self._known.clear()
        rules = carts.read_rules(connection, cart)
        self._known[cart.destination] = (time.monotonic(), rules)
        return rules
