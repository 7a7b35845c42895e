"""The order confirmation mail: plain text, and the same in HTML with every value escaped."""

from __future__ import annotations

from decimal import Decimal
from html import escape

from babel.numbers import format_currency

from models.delivery.mails import EmailMessage
from models.money import CURRENCIES, Money
from models.orders.orders import Order

LOCALE = "en_US"


def money(amount: Money) -> str:
    """`$1,299.50`, `¥2,980`, `KWD 4.500`: exact, by the currency's own decimals."""
    return str(
        format_currency(Decimal(amount.amount).scaleb(-CURRENCIES[amount.currency]), amount.currency, locale=LOCALE)
    )


def order_confirmation(message_id: str, order: Order, to: str, *, shop: str, public_url: str) -> EmailMessage:
    """The mail: the order's lines, its totals, and a link to it."""
    link = f"{public_url}/orders/{order.id}"
    lines = [f"{line.quantity} × {line.title}: {money(line.total)}" for line in order.lines]
    totals = [
        ("Items", order.totals.items),
        ("Discount", -order.totals.discount),
        ("Shipping", order.totals.shipping),
        ("Tax", order.totals.tax),
        ("Total", order.totals.total),
    ]
    sums = [f"{name}: {money(value)}" for name, value in totals if value.amount or name == "Total"]
    text = "\n".join(
        [
            f"Thank you for your order {order.number}.",
            "",
            *lines,
            "",
            *sums,
            "",
            f"Your order: {link}",
            "",
            shop,
        ]
    )
    html = (
        f"<h1>Thank you for your order {escape(order.number)}.</h1>"
        f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"
        f"<p>{'<br>'.join(escape(line) for line in sums)}</p>"
        f'<p><a href="{escape(link)}">Your order</a></p><p>{escape(shop)}</p>'
    )
    return EmailMessage(id=message_id, to=to, subject=f"{shop}: your order {order.number}", text=text, html=html)
