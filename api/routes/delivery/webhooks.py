"""Inbound webhooks: verify the signature over the raw bytes, store each event once, process it through the outbox."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from activities.gateways.mail import MailEvent
from api.fields import Id
from api.schemas.responses import Problem
from api.services import Services, Shop
from models.db.repositories.delivery import sent_messages, webhook_events
from models.db.repositories.orders import parcels
from models.errors import BadSignature, NotFound
from models.orders.parcels import CarrierEvent
from models.payments.provider import ProviderEvent

STRIPE, PAYPAL = "stripe", "paypal"

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], responses={400: {"model": Problem}})


@router.post("/stripe")
async def stripe(
    request: Request, shop: Shop, signature: Annotated[str, Header(alias="Stripe-Signature")] = ""
) -> JSONResponse:
    """Stores a Stripe event. Duplicates and any order are harmless. 400 for a bad or stale signature."""
    event = shop.payments[STRIPE].event(await request.body(), {"stripe-signature": signature})
    new = await run_in_threadpool(_store, shop, STRIPE, event)
    return JSONResponse({"received": True, "duplicate": not new})


@router.post("/paypal", responses={503: {"model": Problem}})
async def paypal(
    request: Request, shop: Shop, signature: Annotated[str, Header(alias="PayPal-Transmission-Sig")] = ""
) -> JSONResponse:
    """Stores a PayPal event. Duplicates and any order are harmless. 400 for a bad or stale signature; 503 while PayPal
    can't verify it: PayPal delivers it again.
    """
    if PAYPAL not in shop.payments:
        raise NotFound("PayPal is not set up here")
    body = await request.body()
    event = await run_in_threadpool(shop.payments[PAYPAL].event, body, request.headers)
    new = await run_in_threadpool(_store, shop, PAYPAL, event)
    return JSONResponse({"received": True, "duplicate": not new})


@router.post("/sendgrid")
async def sendgrid(
    request: Request,
    shop: Shop,
    signature: Annotated[str, Header(alias="X-Twilio-Email-Event-Webhook-Signature")] = "",
    timestamp: Annotated[str, Header(alias="X-Twilio-Email-Event-Webhook-Timestamp")] = "",
) -> JSONResponse:
    """Stores SendGrid's delivery events."""
    events = shop.mail.events(await request.body(), signature, timestamp)
    await run_in_threadpool(_record_mail_events, shop, events)
    return JSONResponse({"received": True})


@router.post("/carrier/{name}", responses={404: {"model": Problem}})
async def carrier(request: Request, shop: Shop, name: Id) -> JSONResponse:
    """Stores a carrier event (Standard Webhooks). Duplicates and any order are harmless."""
    if shop.carrier is None or name != shop.carrier.name:
        raise BadSignature()  # no other carrier is configured
    event = shop.carrier.event(await request.body(), request.headers)
    new = event is not None and await run_in_threadpool(_store_carrier_event, shop, name, event)
    return JSONResponse({"received": True, "duplicate": event is not None and not new})


def _store(shop: Services, provider: str, event: ProviderEvent) -> bool:
    with shop.database.autocommit() as connection:
        return webhook_events.store(connection, provider, event)


def _record_mail_events(shop: Services, events: list[MailEvent]) -> None:
    taken = [event.message_id for event in events]
    if taken:
        with shop.database.autocommit() as connection:
            for message_id in dict.fromkeys(taken):
                sent_messages.end_sending(connection, message_id, "sent")


def _store_carrier_event(shop: Services, name: str, event: CarrierEvent) -> bool:
    with shop.database.autocommit() as connection:
        return parcels.store_carrier_events(connection, name, [event]) > 0
