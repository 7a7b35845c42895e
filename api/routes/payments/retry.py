"""A payment that failed after its order was placed: its buyer gives another method, support steers the ladder."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from temporalio.workflow import UpdateMethodMultiParam

from api.auth import Caller, CartToken, OrdersReader, Support, owns_cart
from api.commands import Command, CommandRequest
from api.fields import Id
from api.idempotency import Key, respond, store_problem
from api.schemas.base import Body, Line
from api.schemas.responses import OrderOut, PaymentRetryOut, PaymentWaitsOut, Problem
from api.services import Services, Shop
from models.accounts.access import Principal
from models.db.repositories.delivery import audit, stored_responses
from models.db.repositories.orders.orders import StoredOrder, read_order_with_owner, require_order
from models.db.repositories.payments import retry_attempts, retry_reads
from models.delivery.stored_responses import StoredResponse
from models.errors import HoldfastError, InvalidTransition, NotFound, Unavailable
from models.ids import new_id
from models.orders.orders import Actor
from models.payments.methods import is_saved_id
from models.payments.retry import Asked, PayWith, RetryState, Steer
from models.states import OrderStatus
from workflows.payment_retry import PaymentRetry

router = APIRouter(
    tags=["payment retry"],
    responses={status: {"model": Problem} for status in (401, 403, 404, 409, 422, 503)},
)


class NewMethod(Body):
    method: Annotated[Line, Field(description="the provider's token, or a saved method's id; never a card number")]
    provider: Literal["stripe"] = "stripe"


@router.post(
    "/v1/orders/{order_id}/payment-method",
    response_model=OrderOut,
    responses={202: {"model": PaymentWaitsOut}, 402: {"model": Problem}},
)
async def pay_with_another_method(
    request: Request,
    command: Command,
    shop: Shop,
    caller: Caller,
    order_id: Id,
    body: NewMethod,
    cart_token: CartToken = None,
) -> Response:
    """While payment is being retried: tried at once. 200 paid, 202 the bank wants to see the buyer, 402 declined (the
    retries go on)."""
    key = command.key(caller, body, cart_token)
    known = await run_in_threadpool(_prepare, shop, caller, cart_token, key, order_id, body)
    if isinstance(known, StoredResponse):
        return respond(request, known, replayed=True)
    try:
        told = await shop.processes.update_payment_retry(
            order_id, PaymentRetry.pay, known, f"pay/{key.digest if key else new_id('evt')}"
        )
    except Unavailable:
        return respond(request, await run_in_threadpool(_still_trying, shop, order_id))
    except HoldfastError as error:
        return respond(request, await run_in_threadpool(_refusal, request, shop, key, error))
    return respond(request, await run_in_threadpool(_answer, shop, key, order_id, told.status))


@router.get("/v1/support/orders/{order_id}/payment-retry", response_model=PaymentRetryOut)
def read_payment_retry(shop: Shop, caller: OrdersReader, order_id: Id) -> JSONResponse:
    """What it waits for, the last refusal, when it is tried next and when it is given up."""
    with shop.database.autocommit() as connection:
        found = retry_reads.view(connection, require_order(connection, order_id))
        audit.append(connection, caller, "order.payment_retry_read", order_id)
    return JSONResponse(found)


@router.post("/v1/support/orders/{order_id}/payment-retry/try-now", response_model=PaymentRetryOut)
async def try_now(request: Request, command: Command, shop: Shop, caller: Support, order_id: Id) -> Response:
    """The order's own saved method, now; never one that its issuer has refused for good."""
    return await _steer(request, command, shop, caller, order_id, "try-now", PaymentRetry.try_now)


@router.post("/v1/support/orders/{order_id}/payment-retry/extend", response_model=PaymentRetryOut)
async def extend(request: Request, command: Command, shop: Shop, caller: Support, order_id: Id) -> Response:
    """A week more, and one more try at its end."""
    return await _steer(request, command, shop, caller, order_id, "extend", PaymentRetry.extend)


@router.post("/v1/support/orders/{order_id}/payment-retry/give-up", response_model=PaymentRetryOut)
async def give_up(request: Request, command: Command, shop: Shop, caller: Support, order_id: Id) -> Response:
    """Cancels what has not left, now, and gives its stock back."""
    return await _steer(request, command, shop, caller, order_id, "give-up", PaymentRetry.give_up)


async def _steer(
    request: Request,
    command: CommandRequest,
    shop: Services,
    caller: Principal,
    order_id: str,
    kind: str,
    update: UpdateMethodMultiParam[[PaymentRetry, Steer], RetryState],
) -> Response:
    key = command.key(caller, {})
    kept = await run_in_threadpool(_kept, shop, key, order_id)
    if kept is not None:
        return respond(request, kept, replayed=True)
    steer = Steer(actor=Actor(type=caller.kind, id=caller.user_id))
    try:
        await run_in_threadpool(_check_retrying, shop, order_id, kind)
        await shop.processes.update_payment_retry(
            order_id, update, steer, f"{kind}/{key.digest if key else new_id('evt')}"
        )
    except HoldfastError as error:
        return respond(request, await run_in_threadpool(store_problem, request, shop.database, key, error))
    return respond(request, await run_in_threadpool(_steered, shop, caller, key, order_id, kind))


def _prepare(
    shop: Services, caller: Principal | None, cart_token: str | None, key: Key | None, order_id: str, body: NewMethod
) -> StoredResponse | PayWith:
    """The kept answer of that key, or what to try: of an order of the caller's own, which only its owner pays.

    InvalidTransition, naming the state, when nothing is retried.
    """
    with shop.database.autocommit() as connection:
        found = read_order_with_owner(connection, order_id)
        mine = found is not None and caller is not None and caller.user_id == found[0].order.customer_id
        if found is None or not (mine or owns_cart(caller, cart_token, None, found[1])):
            raise NotFound("There is no such order")
        kept = stored_responses.load(connection, key.digest, key.fingerprint).answer if key else None
        if kept is not None:
            return kept
    _check_status(found[0], "payment-method")
    if is_saved_id(body.method) and not mine:
        raise NotFound("There is no such payment method")
    return PayWith(
        method=body.method,
        provider=body.provider,
        request=Asked(
            actor=Actor(type=caller.kind, id=caller.user_id) if caller else Actor(type="guest"),
            key_digest=key.digest if key else None,
            fingerprint=key.fingerprint if key else None,
        ),
    )


def _answer(shop: Services, key: Key | None, order_id: str, status: int) -> StoredResponse:
    """The bytes kept with the key; else the order as it now is, or what its buyer has to do."""
    with shop.database.autocommit() as connection:
        kept = stored_responses.find(connection, key.digest, key.fingerprint) if key else None
        if kept is not None:
            return kept
        if status == 202:
            return retry_attempts.challenge_response(connection, order_id)
        return StoredResponse.of(200, require_order(connection, order_id).view())


def _refusal(request: Request, shop: Services, key: Key | None, error: HoldfastError) -> StoredResponse:
    """Of a repeat whose first run has had its effect, though its answer was lost: that answer stands."""
    if key is not None:
        with shop.database.autocommit() as connection:
            kept = stored_responses.find(connection, key.digest, key.fingerprint)
        if kept is not None:
            return kept
    return store_problem(request, shop.database, key, error)


def _still_trying(shop: Services, order_id: str) -> StoredResponse:
    """202 where a try has begun whose outcome nobody knows yet; else nothing has happened, and Unavailable says so."""
    with shop.database.autocommit() as connection:
        if not retry_reads.attempt_in_progress(connection, order_id):
            raise Unavailable("Nothing was charged; try again")
    return StoredResponse.of(202, {"order_id": order_id, "status": "processing"})


def _steered(shop: Services, caller: Principal, key: Key | None, order_id: str, kind: str) -> StoredResponse:
    with shop.database.transaction() as connection:
        answer = StoredResponse.of(200, retry_reads.view(connection, require_order(connection, order_id)))
        if key is not None:
            stored_responses.store(connection, key.digest, key.fingerprint, answer)
        audit.append(connection, caller, f"order.payment_retry_{kind.replace('-', '_')}", order_id)
    return answer


def _kept(shop: Services, key: Key | None, order_id: str) -> StoredResponse | None:
    with shop.database.autocommit() as connection:
        require_order(connection, order_id)
        return stored_responses.load(connection, key.digest, key.fingerprint).answer if key else None


def _check_retrying(shop: Services, order_id: str, requested: str) -> None:
    with shop.database.autocommit() as connection:
        _check_status(require_order(connection, order_id), requested)


def _check_status(stored: StoredOrder, requested: str) -> None:
    status = stored.order.status
    if status is not OrderStatus.PAYMENT_RETRYING:
        raise InvalidTransition(f"The order is {status}: no payment is awaited", state=status, requested=requested)
