"""Builds the HTTP application: middleware, routes, services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from activities.gateways.cache import Cache
from activities.gateways.carrier import CarrierGateway
from activities.gateways.identity import IdentityProviders
from activities.gateways.mail import MailGateway
from activities.gateways.passwords import Passwords
from activities.gateways.providers import payment_gateways
from activities.gateways.secrets import Vault
from api import openapi, problems
from api.card_numbers import NoCardNumbers
from api.limits import Limits
from api.middleware import Conventions
from api.passwords import common_passwords
from api.processes import Processes
from api.routes import health
from api.routes.accounts import api_keys, oauth, profile, registration, second_factor, sessions, staff
from api.routes.catalogue import products
from api.routes.checkout import cart_merge, carts, checkouts
from api.routes.delivery import audit, tasks, webhooks
from api.routes.orders import commands as order_commands
from api.routes.orders import fulfilment, orders, parcels, returns, support
from api.routes.payments import ledger, refunds
from api.routes.payments import methods as payment_methods
from api.routes.payments import retry as payment_retry
from api.rules import RecentRules
from api.services import Services
from api.throttle import Attempts
from api.tokens import Tokens
from models.db.session import Database
from runtime import gc as gc_tuning
from runtime import logs
from runtime.settings import Settings

# One database connection per thread; more threads would only compete for two cores.
THREADS = 16

DESCRIPTION = """Holdfast: one buyer's click, at most one charge, exactly one order or none.

Money is integer minor units. Errors are `application/problem+json`. POSTs that move money, stock or an order take an
`Idempotency-Key`; the same key and body get the same bytes again."""


def create_app(settings: Settings) -> FastAPI:
    """One process of the API. It starts without Temporal, Redis or the providers; each route degrades by itself."""
    app = (_undocumented if settings.production else FastAPIOffline)(
        title="Holdfast",
        version="1",
        description=DESCRIPTION,
        lifespan=_lifespan(settings),
        redirect_slashes=False,
    )
    for routes in (
        products,
        carts,
        cart_merge,
        checkouts,
        orders,
        fulfilment,
        parcels,
        webhooks,
        registration,
        sessions,
        oauth,
        second_factor,
        staff,
        api_keys,
        audit,
        profile,
        payment_methods,
        payment_retry,
        tasks,
        ledger,
        order_commands,
        refunds,
        returns,
        support,
        health,
    ):
        app.include_router(routes.router)
    problems.install(app)
    openapi.describe(app)
    app.add_middleware(NoCardNumbers)  # inside the conventions, so that its problems have a request id
    https = settings.storefront_url.startswith("https://")
    app.add_middleware(Conventions, max_body_bytes=settings.max_body_bytes, https=https)
    return app


def _undocumented(**options: Any) -> FastAPI:
    """A production's document is docs/openapi.json: its API tells strangers nothing about itself."""
    return FastAPI(docs_url=None, redoc_url=None, openapi_url=None, **options)


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        logs.configure(settings.log_level)
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        database = Database(settings.database, pool_size=THREADS, application="holdfast-api")
        cache = Cache(settings.redis)
        passwords = Passwords()
        providers = IdentityProviders.of(settings)
        carrier = CarrierGateway.of(settings)
        loading = asyncio.create_task(asyncio.to_thread(common_passwords))  # loaded before the first request needs it
        app.state.services = Services(
            settings=settings,
            database=database,
            processes=await Processes.connect(settings, database),
            tokens=Tokens.of(settings),
            vault=Vault.of(settings),
            passwords=passwords,
            attempts=Attempts(settings, database, passwords),
            limits=Limits(settings, cache),
            cache=cache,
            rules=RecentRules(),
            payments=payment_gateways(settings),
            carrier=carrier,
            mail=MailGateway(
                settings.sendgrid_api_key.get_secret_value(),
                base=settings.sendgrid_base,
                sender=settings.mail_from,
                webhook_key=settings.sendgrid_webhook_key,
            ),
            providers=providers,
        )
        gc_tuning.tune()
        try:
            yield
        finally:
            await loading
            passwords.close()
            providers.close()
            if carrier is not None:
                carrier.close()
            cache.close()
            database.close()

    return lifespan
