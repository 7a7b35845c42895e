"""Serves the HTTP applications on their ports."""

from pathlib import Path
from typing import Any

import uvicorn

from deploy.errors import StackError
from runtime.settings import Settings

DRAIN_SECONDS = 5  # seconds that running requests get when the process is asked to stop
# Longer than clients and load balancers keep an idle connection (60 s is usual), so that they close first: if we did, a
# request on its way would be lost.
KEEP_ALIVE_SECONDS = 75


def serve_api(settings: Settings) -> None:
    from api.main import create_app

    uvicorn.run(
        create_app(settings),
        **client_address(settings),
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def client_address(settings: Settings) -> dict[str, Any]:
    """The peer's address, or what a trusted proxy forwards; uvicorn's own default trusts every X-Forwarded-For from
    this machine.
    """
    return {"proxy_headers": bool(settings.trusted_proxies), "forwarded_allow_ips": settings.trusted_proxies}


def serve_sandbox(settings: Settings, state: Path | None) -> None:
    """Serves the sandbox; never beside a real shop."""
    from activities.gateways.mail import EVENTS as SENDGRID_EVENTS
    from activities.gateways.paypal.events import EVENTS as PAYPAL_EVENTS
    from activities.gateways.stripe.events import EVENTS as STRIPE_EVENTS
    from sandbox.app import serve
    from sandbox.config import SandboxConfig

    if settings.production:
        raise StackError("the sandbox does not run in production", "unset HOLDFAST_ENV or use real providers")
    serve(
        SandboxConfig(
            state=state,
            webhook_target=settings.api_url,
            stripe_webhook_secret=settings.stripe_webhook_secret.get_secret_value(),
            carrier_webhook_secret=settings.carrier_webhook_secret.get_secret_value(),
            google_client_secret=settings.google_client_secret.get_secret_value(),
            facebook_client_secret=settings.facebook_client_secret.get_secret_value(),
            paypal_client_secret=settings.paypal_client_secret.get_secret_value(),
            paypal_webhook_id=settings.paypal_webhook_id,
            stripe_events=STRIPE_EVENTS,
            paypal_events=PAYPAL_EVENTS,
            sendgrid_events=SENDGRID_EVENTS,
        ),
        "127.0.0.1",
        settings.sandbox_port,
    )
