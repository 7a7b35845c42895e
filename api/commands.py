"""Dependencies of a command: its Idempotency-Key, its initiator, and its one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from fastapi import Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel

from api.auth import audience
from api.idempotency import IdempotencyKey, Key, key_of, once
from api.services import Shop
from models.accounts.access import Principal
from models.db.session import Database
from models.delivery.stored_responses import StoredResponse
from models.ids import derived_id, new_id
from models.orders.commands import Initiator
from models.orders.orders import Actor

if TYPE_CHECKING:
    from sqlalchemy import Connection


class CommandRequest(NamedTuple):
    request: Request
    database: Database
    idempotency_key: str | None

    def key(
        self, caller: Principal | None, body: BaseModel | dict[str, Any], cart_token: str | None = None
    ) -> Key | None:
        """None without the header. Raises BadIdempotencyKey."""
        route = f"{self.request.method} {self.request.url.path}"
        return key_of(self.idempotency_key, audience(caller, cart_token), route, body)

    def once(self, key: Key | None, work: Callable[[Connection], StoredResponse]) -> Response:
        return once(self.request, self.database, key, work)


async def _command(request: Request, shop: Shop, idempotency_key: IdempotencyKey = None) -> CommandRequest:
    return CommandRequest(request, shop.database, idempotency_key)


Command = Annotated[CommandRequest, Depends(_command)]


def initiator(caller: Principal | None, key: Key | None) -> Initiator:
    """The actor and a cause id; the same Idempotency-Key gives the same id."""
    actor = Actor(type=caller.kind, id=caller.user_id) if caller else Actor(type="guest")
    return Initiator(actor=actor, cause=derived_id("evt", key.digest) if key else new_id("evt"))
