"""Payment retries: the buyer gives another payment method, support controls the schedule."""

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
from models.payments.retry import AttemptRequest, PayWith, RetryCommand, RetryState
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
    """Charges another method at once while payment is retried. 200 paid, 202 the bank wants a challenge, 402 declined
    (the retries continue).
    """
    key = command.key(caller, body, cart_token)
    known = await run_in_threadpool(_prepare, shop, caller, cart_token, key, order_id, body)
    if isinstance(known, StoredResponse):
        return respond(request, known, replayed=True)
    try:
        response = await shop.processes.update_payment_retry(
            order_id, PaymentRetry.pay, known, f"pay/{key.digest if key else new_id('evt')}"
        )
    except Unavailable:
        return respond(request, await run_in_threadpool(_in_progress_response, shop, order_id))
    except HoldfastError as error:
        return respond(request, await run_in_threadpool(_refusal, request, shop, key, error))
    return respond(request, await run_in_threadpool(_answer, shop, key, order_id, response.status))


@router.get("/v1/support/orders/{order_id}/payment-retry", response_model=PaymentRetryOut)
def read_payment_retry(shop: Shop, caller: OrdersReader, order_id: Id) -> JSONResponse:
    """The retry's state, last decline, next attempt and end."""
    with shop.database.autocommit() as connection:
        found = retry_reads.view(connection, require_order(connection, order_id))
        audit.append(connection, caller, "order.payment_retry_read", order_id)
    return JSONResponse(found)


@router.post("/v1/support/orders/{order_id}/payment-retry/try-now", response_model=PaymentRetryOut)
async def try_now(request: Request, command: Command, shop: Shop, caller: Support, order_id: Id) -> Response:
    """Charges the order's saved method now; 409 if its issuer has declined it for good."""
    return await _steer(request, command, shop, caller, order_id, "try-now", PaymentRetry.try_now)


@router.post("/v1/support/orders/{order_id}/payment-retry/extend", response_model=PaymentRetryOut)
async def extend(request: Request, command: Command, shop: Shop, caller: Support, order_id: Id) -> Response:
    """Adds a week, and one attempt at its end."""
    return await _steer(request, command, shop, caller, order_id, "extend", PaymentRetry.extend)


@router.post("/v1/support/orders/{order_id}/payment-retry/give-up", response_model=PaymentRetryOut)
async def give_up(request: Request, command: Command, shop: Shop, caller: Support, order_id: Id) -> Response:
    """Cancels what has not left, now, and releases its stock."""
    return await _steer(request, command, shop, caller, order_id, "give-up", PaymentRetry.give_up)


async def _steer(
    request: Request,
    command: CommandRequest,
    shop: Services,
    caller: Principal,
    order_id: str,
    kind: str,
    update: UpdateMethodMultiParam[[PaymentRetry, RetryCommand], RetryState],
) -> Response:
    key = command.key(caller, {})
    stored_response = await run_in_threadpool(_stored_response, shop, key, order_id)
    if stored_response is not None:
        return respond(request, stored_response, replayed=True)
    steer = RetryCommand(actor=Actor(type=caller.kind, id=caller.user_id))
    try:
        await run_in_threadpool(_check_retrying, shop, order_id, kind)
        await shop.processes.update_payment_retry(
            order_id, update, steer, f"{kind}/{key.digest if key else new_id('evt')}"
        )
    except HoldfastError as error:
        return respond(request, await run_in_threadpool(store_problem, request, shop.database, key, error))
    return respond(request, await run_in_threadpool(_control_response, shop, caller, key, order_id, kind))


def _prepare(
    shop: Services, caller: Principal | None, cart_token: str | None, key: Key | None, order_id: str, body: NewMethod
) -> StoredResponse | PayWith:
    """The response stored under the key, or the command, for a caller who owns the order.

    Raises InvalidTransition with the state when no payment is being retried.
    """
    with shop.database.autocommit() as connection:
        found = read_order_with_owner(connection, order_id)
        mine = found is not None and caller is not None and caller.user_id == found[0].order.customer_id
        if found is None or not (mine or owns_cart(caller, cart_token, None, found[1])):
            raise NotFound("There is no such order")
        stored_response = stored_responses.load(connection, key.digest, key.fingerprint).answer if key else None
        if stored_response is not None:
            return stored_response
    _check_status(found[0], "payment-method")
    if is_saved_id(body.method) and not mine:
        raise NotFound("There is no such payment method")
    return PayWith(
        method=body.method,
        provider=body.provider,
        request=AttemptRequest(
            actor=Actor(type=caller.kind, id=caller.user_id) if caller else Actor(type="guest"),
            key_digest=key.digest if key else None,
            fingerprint=key.fingerprint if key else None,
        ),
    )


def _answer(shop: Services, key: Key | None, order_id: str, status: int) -> StoredResponse:
    """The response stored under the key; else the order's present state, or the buyer's next action."""
    with shop.database.autocommit() as connection:
        stored_response = stored_responses.find(connection, key.digest, key.fingerprint) if key else None
        if stored_response is not None:
            return stored_response
        if status == 202:
            return retry_attempts.challenge_response(connection, order_id)
        return StoredResponse.of(200, require_order(connection, order_id).view())


def _refusal(request: Request, shop: Services, key: Key | None, error: HoldfastError) -> StoredResponse:
    """The stored response of an earlier run that took effect before this refusal; else stores the refusal."""
    if key is not None:
        with shop.database.autocommit() as connection:
            stored_response = stored_responses.find(connection, key.digest, key.fingerprint)
        if stored_response is not None:
            return stored_response
    return store_problem(request, shop.database, key, error)


def _in_progress_response(shop: Services, order_id: str) -> StoredResponse:
    """202 while an attempt's outcome is unknown. Raises Unavailable when nothing was attempted."""
    with shop.database.autocommit() as connection:
        if not retry_reads.attempt_in_progress(connection, order_id):
            raise Unavailable("Nothing was charged; try again")
    return StoredResponse.of(202, {"order_id": order_id, "status": "processing"})


def _control_response(shop: Services, caller: Principal, key: Key | None, order_id: str, kind: str) -> StoredResponse:
    with shop.database.transaction() as connection:
        answer = StoredResponse.of(200, retry_reads.view(connection, require_order(connection, order_id)))
        if key is not None:
            stored_responses.store(connection, key.digest, key.fingerprint, answer)
        audit.append(connection, caller, f"order.payment_retry_{kind.replace('-', '_')}", order_id)
    return answer


def _stored_response(shop: Services, key: Key | None, order_id: str) -> StoredResponse | None:
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
