"""Puts the HTTP applications on their ports."""

from pathlib import Path
from typing import Any

import uvicorn

from deploy.errors import StackError
from runtime.settings import Settings

DRAIN_SECONDS = 5  # what running requests get when the process is asked to stop
# Longer than clients and load balancers keep an idle connection (60 s is usual): who closes it first is never we, or a
# request that is just on its way is lost with it.
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
    """How uvicorn tells where a request comes from: the peer, unless that is a proxy of ours; not what a stranger says.

    Left to itself, it believes every X-Forwarded-For that comes from this machine.
    """
    return {"proxy_headers": bool(settings.trusted_proxies), "forwarded_allow_ips": settings.trusted_proxies}


def serve_sandbox(settings: Settings, state: Path | None) -> None:
    """The stand-ins for other people's services; never beside a real shop."""
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
