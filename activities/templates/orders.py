"""Mail texts about an order, by kind of notice; order_confirmation.py has the confirmation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

from activities.templates.order_confirmation import money
from models.delivery.mails import EmailMessage
from models.ids import cancellation_refund_of
from models.orders.notices import OrderNotice
from models.orders.orders import LineQuantity, Order

MailText = tuple[str, list[str]]


def order_mail(
    message_id: str, kind: OrderNotice, order: Order, subject: str, to: str, *, shop: str, public_url: str
) -> EmailMessage:
    """`subject` is the id of the shipment, refund, return or payment that the mail is about."""
    title, sentences = _TEXTS[kind](order, subject)
    link = f"{public_url}/orders/{order.id}"
    text = "\n".join([*sentences, "", f"Your order: {link}", "", shop])
    html = (
        "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
        + f'<p><a href="{escape(link)}">Your order</a></p><p>{escape(shop)}</p>'
    )
    return EmailMessage(id=message_id, to=to, subject=f"{shop}: {title} ({order.number})", text=text, html=html)


def _shipped(order: Order, subject: str) -> MailText:
    parcel = order.shipment(subject)
    tracking = [f"{parcel.carrier}, tracking number {parcel.tracking_number}"] if parcel else []
    more = ["The rest of your order follows."] if order.left_to_ship() else []
    return "your parcel is on its way", [*_items(order, parcel.lines if parcel else []), *tracking, *more]


def _delivered(order: Order, subject: str) -> MailText:
    parcel = order.shipment(subject)
    return "your parcel has arrived", [
        *_items(order, parcel.lines if parcel else []),
        "Your parcel was delivered. If something is wrong with it, tell us.",
    ]


def _parcel_lost(order: Order, subject: str) -> MailText:
    parcel = order.shipment(subject)
    number = f" {parcel.tracking_number}" if parcel else ""
    return "your parcel is lost", [
        f"The carrier can't find your parcel{number}. We are sorry.",
        "You have nothing to do: we look into it and come back to you.",
    ]


def _cancelled(order: Order, subject: str) -> MailText:
    refund = order.refund(cancellation_refund_of(order.id))
    sent = ["What was sent already is yours; nothing more will be taken."] if order.shipments else []
    if refund is not None:
        money_back = [f"{money(refund.amount)} that was taken for what you won't get is refunded to you."]
    elif order.payment.captured.amount:
        money_back = [] if sent else ["Nothing more will be taken from you."]
    else:
        money_back = ["Nothing was taken from you; what was reserved at your bank is released."]
    return "your order is cancelled", [f"Your order {order.number} is cancelled.", *sent, *money_back]


def _refunded(order: Order, subject: str) -> MailText:
    refund = order.refund(subject)
    amount = money(refund.amount) if refund else "Your money"
    return "your refund", [f"{amount} is on its way back to you. Your bank may take some days to show it."]


def _return_requested(order: Order, subject: str) -> MailText:
    request = order.return_(subject)
    return "your return", [
        "You may send back:",
        *_items(order, request.lines if request else []),
        f"Please put this number on the parcel: {subject}",
        "Your money comes back to you once they have arrived.",
    ]


def _items(order: Order, units: list[LineQuantity]) -> list[str]:
    titles = {line.id: line.title for line in order.lines}
    return [f"{item.quantity} × {titles[item.line_id]}" for item in units]


def _return_received(order: Order, subject: str) -> MailText:
    return "your return has arrived", ["We have received what you sent back. Your refund follows."]


def _return_refused(order: Order, subject: str) -> MailText:
    return "your return", [
        f"We can't take back what you announced as {subject}: please don't send it.",
        "Answer this mail if you think that we are wrong.",
    ]


def _return_expired(order: Order, subject: str) -> MailText:
    return "your return", [
        f"Nothing has reached us of what you announced as {subject}, so we no longer wait for it.",
        "If you have sent it, you have nothing to do: we take it when it comes.",
    ]


def _payment_failed(order: Order, subject: str) -> MailText:
    return "your payment did not work", [
        f"We could not take the payment for your order {order.number}, so it waits.",
        "Please choose another way to pay; the link below leads to your order.",
    ]


def _payment_retried(order: Order, subject: str) -> MailText:
    return "your payment has worked", ["Thank you: the payment has worked, and your order goes on."]


_TEXTS: Mapping[OrderNotice, Callable[[Order, str], MailText]] = {
    OrderNotice.SHIPPED: _shipped,
    OrderNotice.DELIVERED: _delivered,
    OrderNotice.PARCEL_LOST: _parcel_lost,
    OrderNotice.CANCELLED: _cancelled,
    OrderNotice.REFUNDED: _refunded,
    OrderNotice.RETURN_REQUESTED: _return_requested,
    OrderNotice.RETURN_RECEIVED: _return_received,
    OrderNotice.RETURN_REFUSED: _return_refused,
    OrderNotice.RETURN_EXPIRED: _return_expired,
    OrderNotice.PAYMENT_FAILED: _payment_failed,
    OrderNotice.PAYMENT_RETRIED: _payment_retried,
}
