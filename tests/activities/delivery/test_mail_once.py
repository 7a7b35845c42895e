"""The confirmation mail: exactly one, whatever the provider does with the answer."""

from __future__ import annotations

import time

from tests.fixtures.shop import eventually


def mail_of(world, buyer, within=15.0):
    """The mail, and that a second one does not follow."""
    eventually(lambda: world.mail(buyer.email), within)
    time.sleep(0.3)
    return world.mail(buyer.email)


def state_of(shop, order):
    rows = shop.sql("SELECT state FROM notifications WHERE event = :event", event=f"{order['id']}:1")
    return rows[0].state if rows else None


def test_goes_out_once_and_says_what_was_bought(shop, world):
    buyer = shop.buyer(quantity=2)
    order = buyer.buy()
    (mail,) = mail_of(world, buyer)
    assert order["number"] in mail["subject"]
    for part in (mail["text"], mail["html"]):
        assert order["number"] in part
        assert f"{shop.settings.storefront_url}/orders/{order['id']}" in part
        assert "$" in part
    eventually(lambda: state_of(shop, order) == "sent")


def test_speaks_the_currency_of_the_order(shop, world):
    buyer = shop.buyer(country="JP")
    buyer.buy()
    (mail,) = mail_of(world, buyer)
    assert "¥" in mail["text"]


def test_escapes_what_a_buyer_typed(shop, world):
    buyer = shop.buyer()
    buyer.buy()
    (mail,) = mail_of(world, buyer)
    assert "<script" not in mail["html"]


def test_a_lost_answer_is_settled_by_the_providers_own_word(shop, world):
    buyer = shop.buyer()
    world.script_mail(buyer.email, {"kind": "status_after", "status": 500})
    order = buyer.buy()
    eventually(lambda: state_of(shop, order) == "sent")
    time.sleep(shop.settings.mail_unknown_seconds + 2.5)
    assert len(world.mail(buyer.email)) == 1


def test_what_was_never_taken_is_sent_again_after_the_wait(shop, world):
    buyer = shop.buyer()
    world.script_mail(buyer.email, {"kind": "status_before", "status": 500})
    began = time.monotonic()
    order = buyer.buy()
    mails = mail_of(world, buyer)
    assert len(mails) == 1
    assert time.monotonic() - began >= shop.settings.mail_unknown_seconds
    eventually(lambda: state_of(shop, order) == "sent")


def test_a_provider_that_was_not_reached_is_asked_again_at_once(shop, world):
    buyer = shop.buyer()
    world.script_mail(buyer.email, {"kind": "status_before", "status": 429})
    order = buyer.buy()
    assert len(mail_of(world, buyer)) == 1
    eventually(lambda: state_of(shop, order) == "sent")


def test_a_message_that_is_refused_for_good_becomes_a_task(shop, world):
    buyer = shop.buyer()
    world.script_mail(buyer.email, {"kind": "status_before", "status": 400})
    order = buyer.buy()
    eventually(lambda: state_of(shop, order) == "failed")
    assert shop.tasks(order["id"]) == ["mail-refused"]
    assert world.mail(buyer.email) == []


def test_forged_events_settle_nothing(shop, world):
    buyer = shop.buyer()
    with world.webhooks("sendgrid", mode="drop", forge=True):
        world.script_mail(buyer.email, {"kind": "timeout_before", "ms": 100})
        order = buyer.buy()
        time.sleep(1)
        assert state_of(shop, order) in ("sending", None)
    assert len(mail_of(world, buyer)) == 1
