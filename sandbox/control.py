"""The control API under `/_sandbox`: tests script, act in and read the sandbox."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox.carrier.parcels import CarrierError
from sandbox.exchange import nest
from sandbox.identity.service import SignInError
from sandbox.paypal_shaped import authorisations
from sandbox.paypal_shaped import control as paypal
from sandbox.paypal_shaped.errors import PayPalError
from sandbox.scripts import BadScript, read_repeat
from sandbox.store import Row
from sandbox.stripe_shaped import charging, refunds, setup_intents
from sandbox.stripe_shaped.errors import Missing, StripeError
from sandbox.stripe_shaped.money import CURRENCIES
from sandbox.stripe_shaped.shapes import render
from sandbox.webhooks import read_travel
from sandbox.world import World


class ControlError(Exception):
    """An invalid control call, 400."""


Action = Callable[[World, Request, Row], Any]  # (world, request, body) -> JSON value
_RAW_NAMES = {
    "payment_intents": "payment_intent",
    "setup_intents": "setup_intent",
    "payment_methods": "payment_method",
    "refunds": "refund",
    "customers": "customer",
}


def control_routes(world: World) -> list[Route]:
    """All control routes, bound to one world."""

    def route(method: str, path: str, action: Action) -> Route:
        async def endpoint(request: Request) -> Response:
            return await _run(world, request, action)

        return Route(f"/_sandbox{path}", endpoint=endpoint, methods=[method])

    return [
        route("GET", "/health", _health),
        route("POST", "/reset", _reset),
        route("GET", "/script", _scripts),
        route("POST", "/script", _script),
        route("DELETE", "/script", _unscript),
        route("GET", "/calls", _calls),
        route("GET", "/mail", _mail),
        route("GET", "/sms", _sms),
        route("POST", "/clock", _clock),
        route("GET", "/webhooks", _webhooks),
        route("POST", "/webhooks", _configure_webhooks),
        route("POST", "/webhooks/release", _release_webhooks),
        route("POST", "/stripe/forget-keys", _forget_keys),
        route("POST", "/stripe/search", _search_lag),
        route("POST", "/stripe/settlement", _set_settlement_currency),
        route("POST", "/stripe/payment_intents/{id}/authenticate", _authenticate),
        route("POST", "/stripe/setup_intents/{id}/authenticate", _authenticate_setup),
        route("POST", "/stripe/refunds/{id}/settle", _settle_refund),
        route("GET", "/stripe/{kind}", _truth),
        *(route(method, f"/paypal{path}", _paypal(act)) for method, path, act in paypal.ACTIONS),
        route("GET", "/carrier/labels", _carrier_labels),
        route("GET", "/carrier/parcels/{tracking}", _parcel),
        route("POST", "/carrier/parcels/{tracking}/events", _parcel_event),
        route("POST", "/idp/{provider}/approve", _approve),
        route("POST", "/idp/{provider}/rotate-keys", _rotate_keys),
    ]


async def _run(world: World, request: Request, action: Action) -> Response:
    """Decodes, acts, commits, responds; a form with `then` is redirected to its page."""
    try:
        body = _body(request, await request.body())
        then = body.pop("then", None)
        result = action(world, request, body)
    except (ControlError, BadScript, SignInError) as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    except StripeError as error:
        status = 404 if isinstance(error, Missing) else 400
        return JSONResponse({"error": str(error)}, status_code=status)
    except (CarrierError, PayPalError) as error:
        return JSONResponse({"error": str(error)}, status_code=error.status)
    world.store.commit()
    if then is not None:
        return RedirectResponse(str(then), status_code=303)
    return JSONResponse(result)


def _body(request: Request, raw: bytes) -> Row:
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return nest(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))
    if not raw.strip():
        return {}
    try:
        body = json.loads(raw)
    except ValueError:
        raise ControlError("the body is no JSON") from None
    if not isinstance(body, dict):
        raise ControlError("the body must be a JSON object")
    return body


def _known_service(world: World, name: Any) -> str:
    if name not in world.service_names:
        raise ControlError(f"unknown service {name!r}: there are {', '.join(world.service_names)}")
    return str(name)


def _number(request: Request, name: str) -> int | None:
    raw = request.query_params.get(name)
    if raw is None or raw == "":
        return None
    if not raw.isdigit():
        raise ControlError(f"{name} must be a number")
    return int(raw)


def _only(body: Row, *names: str) -> None:
    unknown = sorted(set(body) - set(names))
    if unknown:
        raise ControlError(f"unknown field {unknown[0]!r}")


def _health(world: World, request: Request, body: Row) -> Any:
    return {"status": "ok", "services": world.service_names, "now": world.clock.iso()}


def _reset(world: World, request: Request, body: Row) -> Any:
    world.reset()
    return {"reset": True}


def _scripts(world: World, request: Request, body: Row) -> Any:
    return world.scripts.pending()


def _script(world: World, request: Request, body: Row) -> Any:
    _only(body, "service", "match", "outcomes", "repeat", "forever")
    service = _known_service(world, body.get("service"))
    rounds = read_repeat(body)
    return {"id": world.scripts.add(service, body.get("match", {}), body.get("outcomes"), rounds)}


def _unscript(world: World, request: Request, body: Row) -> Any:
    service = request.query_params.get("service")
    world.scripts.forget(_known_service(world, service) if service else None)
    return {"forgotten": True}


def _calls(world: World, request: Request, body: Row) -> Any:
    query = request.query_params
    service = _known_service(world, query["service"]) if query.get("service") else None
    since = _number(request, "since") or 0
    return world.calls.select(service, since, query.get("path") or None, _number(request, "limit"))


def _mail(world: World, request: Request, body: Row) -> Any:
    return world.mail.inbox(request.query_params.get("to"))


def _sms(world: World, request: Request, body: Row) -> Any:
    return world.sms.inbox(request.query_params.get("to"))


def _clock(world: World, request: Request, body: Row) -> Any:
    _only(body, "advance_s")
    seconds = body.get("advance_s")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0:
        raise ControlError("advance_s must be a number of seconds, and time doesn't go back")
    world.clock.advance(seconds)
    charging.expire_authorisations(world.stripe.account)
    authorisations.expire(world.paypal.account)
    return {"now": world.clock.iso()}


def _webhooks(world: World, request: Request, body: Row) -> Any:
    return world.webhooks.overview()


def _services_named(world: World, body: Row) -> list[str]:
    name = body.pop("service", None)
    return world.service_names if name is None else [_known_service(world, name)]


def _configure_webhooks(world: World, request: Request, body: Row) -> Any:
    """Settings that aren't named return to their defaults."""
    services = _services_named(world, body)
    try:
        travel = read_travel(body)
    except ValueError as error:
        raise ControlError(str(error)) from None
    for service in services:
        world.webhooks.configure(service, travel)
    return world.webhooks.overview()


def _release_webhooks(world: World, request: Request, body: Row) -> Any:
    _only(body, "service")
    released = sum(world.webhooks.release(service) for service in _services_named(world, body))
    return {"released": released}


def _forget_keys(world: World, request: Request, body: Row) -> Any:
    return {"forgotten": world.stripe.keys.forget()}


def _search_lag(world: World, request: Request, body: Row) -> Any:
    _only(body, "lag_ms")
    lag = body.get("lag_ms")
    if isinstance(lag, bool) or not isinstance(lag, int) or lag < 0:
        raise ControlError("lag_ms must be a number of milliseconds")
    world.store.put("settings", "search", {"lag_ms": lag})
    return {"lag_ms": lag}


def _set_settlement_currency(world: World, request: Request, body: Row) -> Any:
    """The currency that the account settles in, and for each currency converted into it the rate."""
    _only(body, "currency", "rates")
    currency, rates = body.get("currency"), body.get("rates") or {}
    if currency is not None and currency not in CURRENCIES:
        raise ControlError("currency must be one of Stripe's, in lower case, or null")
    if not isinstance(rates, dict) or not all(_is_rate(name, rate) for name, rate in rates.items()):
        raise ControlError('rates must be like {"eur": 1.08}: what one unit is worth in `currency`')
    world.stripe.account.set_settlement_currency(currency, rates if currency else {})
    return {"currency": currency, "rates": rates if currency else {}}


def _is_rate(currency: str, rate: Any) -> bool:
    return currency in CURRENCIES and isinstance(rate, (int, float)) and not isinstance(rate, bool) and rate > 0


def _succeeds(body: Row) -> bool:
    _only(body, "result")
    if body.get("result") not in ("success", "failure"):
        raise ControlError('result must be "success" or "failure"')
    return bool(body["result"] == "success")


def _authenticate(world: World, request: Request, body: Row) -> Any:
    intent = world.stripe.account.get("payment_intent", request.path_params["id"])
    return _seen(charging.authenticate(world.stripe.account, intent, _succeeds(body)))


def _authenticate_setup(world: World, request: Request, body: Row) -> Any:
    intent = world.stripe.account.get("setup_intent", request.path_params["id"])
    return render(setup_intents.authenticate(world.stripe.account, intent, _succeeds(body)))


def _settle_refund(world: World, request: Request, body: Row) -> Any:
    _only(body, "status", "failure_reason")
    refund = world.stripe.account.get("refund", request.path_params["id"])
    status = str(body.get("status"))
    return _seen(refunds.settle(world.stripe.account, refund, status, body.get("failure_reason")))


def _paypal(act: paypal.Action) -> Action:
    return lambda world, request, body: act(world.paypal, request.path_params, body)


def _approve(world: World, request: Request, body: Row) -> Any:
    """Acts as the user at the identity provider's page; returns the URL that the browser goes to."""
    _only(body, "authorize_url", "subject", "email", "email_verified", "name", "error", "forge", "iss")
    return {"location": world.identity.approve(request.path_params["provider"], body)}


def _carrier_labels(world: World, request: Request, body: Row) -> Any:
    return world.carrier.parcels.labels(request.query_params.get("reference"))


def _parcel(world: World, request: Request, body: Row) -> Any:
    return world.carrier.parcels.track(request.path_params["tracking"])


def _parcel_event(world: World, request: Request, body: Row) -> Any:
    """Records an event of a parcel, whoever sold its label."""
    return world.carrier.happen(request.path_params["tracking"], body)


def _rotate_keys(world: World, request: Request, body: Row) -> Any:
    _only(body)
    return {"kid": world.identity.rotate_keys(request.path_params["provider"])}


def _truth(world: World, request: Request, body: Row) -> Any:
    kind = request.path_params["kind"]
    if kind not in _RAW_NAMES:
        raise ControlError(f"nothing is known about {kind!r}: there are {', '.join(_RAW_NAMES)}")
    return [_seen(row) for row in world.stripe.account.rows(_RAW_NAMES[kind])]


def _seen(row: Row) -> Row:
    """An object's public fields, and what was really refunded."""
    shown = render(row)
    if row["object"] == "payment_intent":
        shown["amount_refunded"] = row["_amount_refunded"]
    elif row["object"] == "refund":
        moved = row["amount"] if row["status"] == "succeeded" else 0
        shown.update(amount_received=0, amount_refunded=moved)
    elif row["object"] == "customer":
        shown.update(amount=None, amount_received=None, amount_refunded=None, status=None)
    return shown
