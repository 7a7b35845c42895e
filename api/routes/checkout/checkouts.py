"""Checkouts: refuse early, then start the workflow and return its response."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api.auth import Caller, CartToken, audience, own_cart, owns_cart
from api.fields import Id
from api.idempotency import IdempotencyKey, Key, key_of, required, respond
from api.schemas.base import Body, Line
from api.schemas.responses import CheckoutOut, Problem
from api.services import Services, Shop
from models.accounts.access import Principal
from models.checkout import carts as rules
from models.checkout.carts import Cart
from models.checkout.checkouts import BeginCheckout
from models.db.repositories.accounts import profiles
from models.db.repositories.checkout import carts as cart_repository
from models.db.repositories.checkout import checkouts
from models.db.repositories.checkout import reads as checkout_reads
from models.db.repositories.delivery import stored_responses
from models.db.repositories.payments import methods as payment_methods
from models.delivery.stored_responses import CommandResponse, StoredResponse
from models.errors import HoldfastError, InvalidRequest, NotFound, PaymentDeclined, PaymentMethodInvalid
from models.ids import derived_id, order_of
from models.money import Money
from models.payments.methods import is_saved_id
from models.states import CheckoutStatus

if TYPE_CHECKING:
    from sqlalchemy import Connection

router = APIRouter(prefix="/v1/checkouts", tags=["checkouts"])

ROUTE = "POST /v1/checkouts"
PROBLEMS: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (400, 402, 404, 409, 422, 503)}


class PaymentIn(Body):
    provider: Literal["stripe", "paypal"]
    method: Annotated[
        Line,
        Field(description="the provider's token, or a saved method's id; never a card number; at PayPal \"paypal\""),
    ]
    save: Annotated[bool, Field(description="keep it for later, once it has paid: for signed-in customers")] = False


class NewCheckout(Body):
    cart_id: Line
    expected_total: Annotated[Money, Field(description="what the buyer saw: a higher total is refused")]
    payment: PaymentIn | None = None


@router.post("", status_code=201, response_model=CheckoutOut, responses={202: {"model": CheckoutOut}, **PROBLEMS})
async def create_checkout(
    request: Request,
    shop: Shop,
    caller: Caller,
    body: NewCheckout,
    idempotency_key: IdempotencyKey = None,
    cart_token: CartToken = None,
) -> Response:
    """One click: at most one charge, exactly one order or none. The same key is always safe to repeat."""
    key = required(key_of(idempotency_key, audience(caller, cart_token), ROUTE, body))
    known = await run_in_threadpool(_prepare, shop, caller, cart_token, key, body, request.scope["request_id"])
    if isinstance(known, StoredResponse):
        return respond(request, known, replayed=True)
    response = await shop.processes.submit(known)
    return respond(request, await run_in_threadpool(_answer, shop, key, response))


@router.get("/{checkout_id}", response_model=CheckoutOut, responses={404: {"model": Problem}})
def read_checkout(shop: Shop, caller: Caller, checkout_id: Id, cart_token: CartToken = None) -> JSONResponse:
    """The checkout's present state, from the database; safe to poll."""
    return JSONResponse(_read(shop, caller, cart_token, checkout_id))


@router.post("/{checkout_id}/resume", response_model=CheckoutOut, responses={202: {"model": CheckoutOut}, **PROBLEMS})
async def resume_checkout(
    request: Request,
    shop: Shop,
    caller: Caller,
    checkout_id: Id,
    cart_token: CartToken = None,
) -> Response:
    """Continues after the buyer's action. The provider's webhook does the same; the first one counts."""
    current = await run_in_threadpool(_read, shop, caller, cart_token, checkout_id)
    if current["status"] in (CheckoutStatus.PROCESSING, CheckoutStatus.REQUIRES_ACTION):
        response = None
        with contextlib.suppress(NotFound):  # it has ended meanwhile
            response = await shop.processes.resume(checkout_id)
        if response is not None and response.body is not None:
            return respond(request, StoredResponse(status=response.status, body=response.body))
        current = await run_in_threadpool(_read, shop, caller, cart_token, checkout_id)
    if current["status"] == CheckoutStatus.DECLINED:
        raise PaymentDeclined(decline_code=current["decline_code"], checkout_id=checkout_id)
    live = current["status"] in (CheckoutStatus.PROCESSING, CheckoutStatus.REQUIRES_ACTION)
    return JSONResponse(current, status_code=202 if live else 200)


def _answer(shop: Services, key: Key, response: CommandResponse) -> StoredResponse:
    """The workflow's response, with the bytes that it stored in the database."""
    if response.body is not None:
        return StoredResponse(status=response.status, body=response.body)
    with shop.database.autocommit() as connection:
        stored_response = stored_responses.find(connection, key.digest, key.fingerprint)
    assert stored_response is not None, "an answer without bytes is stored with its key"
    return stored_response


def _prepare(
    shop: Services, caller: Principal | None, cart_token: str | None, key: Key, body: NewCheckout, request_id: str
) -> StoredResponse | BeginCheckout:
    """The response stored under the key, or the command that begins the checkout. Raises what refuses it early."""
    with shop.database.autocommit() as connection:
        stored_response = stored_responses.load(connection, key.digest, key.fingerprint)
        if stored_response.answer is not None:
            return stored_response.answer
        cart = own_cart(cart_repository.read_cart(connection, body.cart_id), caller, cart_token)
        if body.expected_total.currency != cart.currency:
            raise InvalidRequest.at("/expected_total/currency", f"the cart is in {cart.currency}")
        if not stored_response.running:
            try:
                _check(shop, connection, cart, body)
            except HoldfastError:
                # A request with the same key may have completed the cart since the key was read.
                stored_response = stored_responses.load(connection, key.digest, key.fingerprint)
                if stored_response.answer is not None:
                    return stored_response.answer
                if not stored_response.running:
                    raise
        payer = _payer(connection, caller, body.payment)
    checkout_id = derived_id("chk", key.digest, cart.id, str(stored_response.spent))
    settings = shop.settings
    return BeginCheckout(
        checkout_id=checkout_id,
        order_id=order_of(checkout_id),
        cart_id=cart.id,
        customer_id=cart.customer_id,
        key_digest=key.digest,
        fingerprint=key.fingerprint,
        request_id=request_id,
        expected_total=body.expected_total,
        **payer,
        hold_seconds=settings.hold_seconds,
        payment_action_seconds=settings.payment_action_seconds,
        payment_lookup_seconds=settings.payment_lookup_seconds,
    )


def _check(shop: Services, connection: Connection, cart: Cart, body: NewCheckout) -> None:
    """Raises what refuses the checkout before it begins."""
    quoted = rules.quote(cart, shop.rules.read(connection, cart))
    checkouts.check(cart, quoted, body.expected_total)
    if body.payment is None and quoted.total.amount:
        raise InvalidRequest.at("/payment", "is required: there is something to pay")
    if body.payment is not None:
        _check_provider(shop, body.payment.provider, cart.currency)


def _check_provider(shop: Services, provider: str, currency: str) -> None:
    if provider not in shop.payments:
        raise InvalidRequest.at("/payment/provider", f"{provider} is not offered here")
    if currency not in shop.payments[provider].currencies:
        raise PaymentMethodInvalid.at("/payment/provider", f"{provider} doesn't take {currency}")


def _payer(connection: Connection, caller: Principal | None, payment: PaymentIn | None) -> dict[str, Any]:
    """The payment fields of the workflow's input. Raises NotFound for a saved method of somebody else."""
    if payment is None:
        return {"provider": "", "method": ""}
    if is_saved_id(payment.method):
        saved = payment_methods.usable(connection, caller.user_id if caller else "", payment.method)
        if saved.provider != payment.provider:
            raise InvalidRequest.at("/payment/provider", f"the saved method is kept at {saved.provider}")
        return {
            "provider": saved.provider,
            "method": saved.reference,
            "customer": saved.customer,
            "payment_method_id": payment.method,
        }
    if payment.save:
        _check_may_save(connection, caller, payment)
    return {"provider": payment.provider, "method": payment.method, "save": payment.save}


def _check_may_save(connection: Connection, caller: Principal | None, payment: PaymentIn) -> None:
    if caller is None or caller.role is None:
        raise InvalidRequest.at("/payment/save", "only who is signed in can keep a method")
    if payment.provider != "stripe":
        raise InvalidRequest.at("/payment/save", f"{payment.provider} keeps none")
    profiles.read_profile(connection, caller.user_id)  # NotFound without an account
    payment_methods.check_room(connection, caller.user_id)


def _read(shop: Services, caller: Principal | None, cart_token: str | None, checkout_id: str) -> dict[str, Any]:
    with shop.database.autocommit() as connection:
        found = checkout_reads.read(connection, checkout_id)
    if found is None or not owns_cart(caller, cart_token, found.customer_id, found.token_digest):
        raise NotFound("There is no such checkout")
    return found.view
