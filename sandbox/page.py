"""HTML pages: received messages and payments at `/`, the bank's 3-D Secure page, PayPal's approval page."""

from html import escape
from itertools import islice
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox.store import Row
from sandbox.world import World

SHOWN = 50  # newest entries of each kind

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .3rem .6rem; vertical-align: top }
tr { border-top: 1px solid #ddd } iframe { width: 100%; height: 20rem; border: 1px solid #ccc }
form { display: inline } button { font: inherit; padding: .2rem .8rem } pre { white-space: pre-wrap; margin: 0 }
"""


def page_routes(world: World) -> list[Route]:
    """The routes of all pages, bound to one world."""

    async def home(_request: Request) -> Response:
        return HTMLResponse(_document("Sandbox", _home(world)))

    async def bank(request: Request) -> Response:
        intent = _intent(world, request.path_params["id"])
        if intent is None:
            return HTMLResponse(_document("Bank", "<p>There is no such payment.</p>"), status_code=404)
        if intent["status"] != "requires_action" and intent.get("_return_url"):
            return RedirectResponse(_way_back(intent), status_code=303)
        return HTMLResponse(_document("Your bank", _bank(intent)))

    async def wallet(request: Request) -> Response:
        order = world.paypal.account.find("order", request.query_params.get("token", ""))
        if order is None:
            return HTMLResponse(_document("PayPal", "<p>There is no such payment.</p>"), status_code=404)
        back = order["_cancel_url" if order["status"] == "VOIDED" else "_return_url"]
        if not _waits(order) and back:
            return RedirectResponse(f"{back}{'&' if '?' in back else '?'}token={order['id']}", status_code=303)
        return HTMLResponse(_document("PayPal", _approval(order)))

    return [
        Route("/", endpoint=home),
        Route("/3ds/{id}", endpoint=bank),
        Route("/checkoutnow", endpoint=wallet),
    ]


def _document(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )


def _home(world: World) -> str:
    account = world.stripe.account
    payments = [_payment(row) for row in islice(account.newest("payment_intent"), SHOWN)]
    orders = [_order(row) for row in world.paypal.account.rows("order")[: -SHOWN - 1 : -1]]
    mails = [_mail(row) for row in world.mail.inbox(None)[: -SHOWN - 1 : -1]]
    texts = [_text(row) for row in world.sms.inbox(None)[: -SHOWN - 1 : -1]]
    return (
        _section("Payments", ("payment", "amount", "received", "refunded", "status", ""), payments)
        + _section("PayPal", ("order", "amount", "status", ""), orders)
        + _section("Mail", ("to", "subject", "at", "mail"), mails)
        + _section("SMS", ("to", "from", "at", "text"), texts)
    )


def _section(title: str, columns: tuple[str, ...], rows: list[str]) -> str:
    if not rows:
        return f"<h2>{title}</h2><p>Nothing yet.</p>"
    head = "".join(f"<th>{column}</th>" for column in columns)
    return f"<h2>{title}</h2><table><tr>{head}</tr>{''.join(rows)}</table>"


def _cells(*values: object) -> str:
    return "".join(f"<td>{escape(str(value))}</td>" for value in values)


def _payment(row: Row) -> str:
    amounts = (row["amount"], row["amount_received"], row["_amount_refunded"])
    cells = _cells(row["id"], *(f"{amount} {row['currency'].upper()}" for amount in amounts), row["status"])
    return f"<tr>{cells}<td>{_buttons(row, '/')}</td></tr>"


def _order(row: Row) -> str:
    amount = row["_unit"]["amount"]
    page = f'<a href="/checkoutnow?token={quote(row["id"])}">PayPal page</a>' if _waits(row) else ""
    cells = _cells(row["id"], f"{amount['value']} {amount['currency_code']}", row["status"])
    return f"<tr>{cells}<td>{page}</td></tr>"


def _buttons(intent: Row, then: str) -> str:
    """Approve and fail buttons, while a challenge is open."""
    if intent["status"] != "requires_action":
        return ""
    action = f"/_sandbox/stripe/{intent['object']}s/{quote(intent['id'])}/authenticate"
    choices = (("success", "Approve this 3-D Secure"), ("failure", "Fail it"))
    return " ".join(
        f'<form method="post" action="{action}"><input type="hidden" name="then" value="{escape(then)}">'
        f'<button name="result" value="{result}">{label}</button></form>'
        for result, label in choices
    )


def _mail(mail: Row) -> str:
    shown = f"<pre>{escape(mail['text'] or '')}</pre>"
    if mail["html"]:
        # No scripts, no navigation, no origin: the content of the shop's mails stays in the frame.
        shown += f'<details><summary>HTML</summary><iframe sandbox srcdoc="{escape(mail["html"])}"></iframe></details>'
    return f"<tr>{_cells(mail['to'], mail['subject'], mail['at'])}<td>{shown}</td></tr>"


def _text(message: Row) -> str:
    return f"<tr>{_cells(message['to'], message['from'], message['at'], message['text'])}</tr>"


def _intent(world: World, intent_id: str) -> Row | None:
    account = world.stripe.account
    return account.find("payment_intent", intent_id) or account.find("setup_intent", intent_id)


def _bank(intent: Row) -> str:
    if intent["status"] != "requires_action":
        return f"<p>This payment is {escape(intent['status'])}. You can close this page.</p>"
    what = f"Pay {intent['amount']} {intent['currency'].upper()}" if "amount" in intent else "Save this card"
    return f"<p>{escape(what)}?</p><p>{_buttons(intent, '/3ds/' + quote(intent['id']))}</p>"


def _waits(order: Row) -> bool:
    return order["status"] in ("CREATED", "PAYER_ACTION_REQUIRED")


def _approval(order: Row) -> str:
    if not _waits(order):
        return f"<p>This payment is {escape(order['status'])}. You can close this page.</p>"
    amount = order["_unit"]["amount"]
    name = quote(order["id"])
    choices = (("success", "Approve this PayPal payment"), ("cancel", "Cancel it"))
    buttons = " ".join(
        f'<form method="post" action="/_sandbox/paypal/orders/{name}/approve">'
        f'<input type="hidden" name="then" value="/checkoutnow?token={name}">'
        f'<button name="result" value="{result}">{label}</button></form>'
        for result, label in choices
    )
    return f"<p>Pay {escape(amount['value'])} {escape(amount['currency_code'])}?</p><p>{buttons}</p>"


def _way_back(intent: Row) -> str:
    """The shop's return URL with what Stripe adds to it."""
    name = intent["object"]
    succeeded = intent["status"] in ("succeeded", "requires_capture")
    query = urlencode(
        {
            name: intent["id"],
            f"{name}_client_secret": intent["client_secret"],
            "redirect_status": "succeeded" if succeeded else "failed",
        }
    )
    url = str(intent["_return_url"])
    return f"{url}{'&' if '?' in url else '?'}{query}"
