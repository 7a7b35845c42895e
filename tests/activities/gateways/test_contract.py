"""One contract, the same tests on both providers: held, taken in parts, given back, and never lost in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from models.errors import (
    AuthorisationGone,
    CaptureRefused,
    HoldfastError,
    OutcomeUnknown,
    PaymentMethodInvalid,
    ProviderUnavailable,
    RefundExceedsBalance,
)
from models.money import Money
from models.payments.provider import (
    AuthorisationRequest,
    ForeignMovement,
    Movement,
    MovementKind,
    ProviderPaymentStatus,
    ProviderRefundStatus,
)
from tests.activities.gateways.conftest import OnStripe, Provider, lately, new_metadata, usd
from tests.sandbox.conftest import Sandbox

LOST: dict[str, dict[str, Any]] = {
    "timeout-before": {"kind": "timeout_before"},
    "timeout-after": {"kind": "timeout_after"},
    "500-before": {"kind": "status_before", "status": 500},
    "500-after": {"kind": "status_after", "status": 503},
    "reset-before": {"kind": "reset_connection_before"},
    "reset-after": {"kind": "reset_connection_after"},
}
lost = pytest.mark.parametrize("fate", list(LOST.values()), ids=list(LOST))


def settled(effect: Callable[[str], Any], found: Callable[[], Any]) -> Any:
    """As an activity does it: try, look, and only where there is nothing try again; another key once one is used up."""
    key = uuid4().hex
    for number in range(5):
        try:
            return effect(key)
        except OutcomeUnknown as error:
            if (held := found()) is not None:
                return held
            if error.extra.get("answered"):
                key = f"{key}:{number}"
    raise AssertionError("it never came to an end")


def script(provider: Provider, effect: str, fate: dict[str, Any]) -> None:
    name = provider.gateway.name
    provider.sandbox.script(fate, service=name, path=provider.paths[effect], method="POST")


def test_a_payment_is_held_once_its_buyer_has_agreed(provider: Provider) -> None:
    metadata = new_metadata()
    payment = provider.start(usd(1_000), metadata, "key")
    assert payment.state is ProviderPaymentStatus.REQUIRES_ACTION
    assert payment.amount == usd(1_000)
    assert payment.reference
    assert payment.next_action is not None
    assert payment.next_action["type"]
    assert provider.start(usd(1_000), metadata, "key").reference == payment.reference

    assert provider.gateway.complete(payment.reference, "early").state is ProviderPaymentStatus.REQUIRES_ACTION
    provider.agree(payment.reference)
    assert provider.gateway.retrieve(payment.reference).state in (
        ProviderPaymentStatus.APPROVED,
        ProviderPaymentStatus.AUTHORISED,
    )
    for key in ("complete", "complete", "complete-again"):
        assert provider.gateway.complete(payment.reference, key).state is ProviderPaymentStatus.AUTHORISED
    assert provider.truth(payment.reference) == {"received": 0, "refunded": 0, "held": 1_000}


def test_a_buyer_who_does_not_agree_pays_nothing(provider: Provider) -> None:
    payment = provider.start(usd(1_000), new_metadata(), "key")
    assert payment.reference
    provider.refuse(payment.reference)
    seen = provider.gateway.complete(payment.reference, "complete")
    assert seen.state in (ProviderPaymentStatus.DECLINED, ProviderPaymentStatus.CANCELLED)
    assert seen.decline_code
    assert provider.truth(payment.reference)["held"] == 0


def test_a_decline_is_a_result(provider: Provider) -> None:
    payment = provider.declined(usd(1_000))
    assert payment.state is ProviderPaymentStatus.DECLINED
    assert payment.decline_code
    assert payment.reference
    assert provider.truth(payment.reference)["held"] == 0


def test_a_payment_is_found_by_our_metadata(provider: Provider) -> None:
    metadata = new_metadata()
    reference = provider.held(usd(1_000), metadata)
    known = {name: metadata[name] for name in ("checkout_id", "attempt")}
    assert provider.gateway.search(known, lately()).reference == reference
    assert provider.gateway.search({**known, "attempt": "2"}, lately()).state is ProviderPaymentStatus.ABSENT


def test_parcels_take_their_parts_and_the_last_one_the_rest(provider: Provider) -> None:
    reference = provider.held(usd(1_000))
    first = provider.gateway.capture(reference, 400, final=False, key="shp_1:capture")
    assert (first.state, first.captured) == (ProviderPaymentStatus.AUTHORISED, usd(400))
    again = provider.gateway.capture(reference, 400, final=False, key="shp_1:capture")
    assert again.captured == usd(400)
    second = provider.gateway.capture(reference, 100, final=False, key="shp_2:capture")
    assert (second.state, second.captured) == (ProviderPaymentStatus.AUTHORISED, usd(500))
    last = provider.gateway.capture(reference, 300, final=True, key="shp_3:capture")
    assert (last.state, last.captured) == (ProviderPaymentStatus.CAPTURED, usd(800))
    assert provider.gateway.retrieve(reference).captured == usd(800)
    assert provider.truth(reference) == {"received": 800, "refunded": 0, "held": 0}


def test_more_than_is_held_is_never_taken(provider: Provider) -> None:
    reference = provider.held(usd(1_000))
    provider.gateway.capture(reference, 400, final=False, key="shp_1:capture")
    with pytest.raises(CaptureRefused) as refused:
        provider.gateway.capture(reference, 601, final=False, key="shp_2:capture")
    assert not isinstance(refused.value, AuthorisationGone)
    provider.gateway.capture(reference, 600, final=True, key="shp_3:capture")
    with pytest.raises(CaptureRefused):
        provider.gateway.capture(reference, 1, final=True, key="shp_4:capture")
    assert provider.truth(reference)["received"] == 1_000


def test_a_declined_capture_says_why_and_takes_nothing(provider: Provider) -> None:
    reference = provider.held(usd(1_000))
    provider.sandbox.script({"kind": "decline", "code": "insufficient_funds"}, service=provider.gateway.name)
    with pytest.raises(CaptureRefused) as refused:
        provider.gateway.capture(reference, 1_000, final=True, key="shp_1:capture")
    assert refused.value.extra["decline_code"] == "insufficient_funds"
    assert not isinstance(refused.value, AuthorisationGone)
    assert provider.truth(reference) == {"received": 0, "refunded": 0, "held": 1_000}


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_a_capture_of_what_is_gone_is_told_apart(provider: Provider, how: str) -> None:
    reference = provider.held(usd(1_000))
    if how == "cancelled":
        provider.gateway.cancel(reference)
    else:
        provider.sandbox.control("/clock", {"advance_s": 30 * 86_400})
    with pytest.raises(AuthorisationGone):
        provider.gateway.capture(reference, 1_000, final=True, key="shp_1:capture")
    assert provider.gateway.retrieve(reference).state is ProviderPaymentStatus.CANCELLED


def test_a_void_gives_the_promise_back_and_twice_is_once(provider: Provider) -> None:
    reference = provider.held(usd(1_000))
    assert provider.gateway.cancel(reference).state is ProviderPaymentStatus.CANCELLED
    assert provider.gateway.cancel(reference).state is ProviderPaymentStatus.CANCELLED
    assert provider.truth(reference) == {"received": 0, "refunded": 0, "held": 0}


def test_a_void_before_the_buyer_agreed_ends_it(provider: Provider) -> None:
    payment = provider.start(usd(1_000), new_metadata(), "key")
    assert payment.reference
    assert provider.gateway.cancel(payment.reference).state is ProviderPaymentStatus.CANCELLED


def test_a_void_of_what_was_taken_says_so_and_is_given_back(provider: Provider) -> None:
    reference = provider.held(usd(1_000))
    provider.gateway.capture(reference, 1_000, final=True, key="shp_1:capture")
    assert provider.gateway.cancel(reference).state is ProviderPaymentStatus.CAPTURED
    provider.gateway.refund_rest(reference)
    provider.gateway.refund_rest(reference)
    assert provider.truth(reference) == {"received": 1_000, "refunded": 1_000, "held": 0}


def test_refunds_in_parts_never_exceed_what_was_taken(provider: Provider) -> None:
    reference = provider.held(usd(1_000))
    provider.gateway.capture(reference, 400, final=False, key="shp_1:capture")
    provider.gateway.capture(reference, 500, final=True, key="shp_2:capture")
    small = provider.gateway.refund(reference, usd(150), {"refund_id": "rfd_1"}, "rfd_1:refund")
    assert (small.state, small.amount) == (ProviderRefundStatus.SUCCEEDED, usd(150))
    with pytest.raises(RefundExceedsBalance):
        provider.gateway.refund(reference, usd(751), {"refund_id": "rfd_2"}, "rfd_2:refund")
    rest = provider.gateway.refund(reference, usd(750), {"refund_id": "rfd_3"}, "rfd_3:refund")
    assert (rest.state, rest.amount) == (ProviderRefundStatus.SUCCEEDED, usd(750))
    with pytest.raises(RefundExceedsBalance):
        provider.gateway.refund(reference, usd(1), {"refund_id": "rfd_4"}, "rfd_4:refund")
    assert provider.truth(reference)["refunded"] == 900


def test_a_refund_is_found_by_our_id_and_by_the_providers(provider: Provider) -> None:
    reference = provider.held(usd(1_000))
    provider.gateway.capture(reference, 400, final=False, key="shp_1:capture")
    provider.gateway.capture(reference, 600, final=True, key="shp_2:capture")
    assert provider.gateway.search_refund(reference, {"refund_id": "rfd_1"}).state is ProviderRefundStatus.ABSENT
    made = provider.gateway.refund(reference, usd(700), {"refund_id": "rfd_1"}, "rfd_1:refund")
    found = provider.gateway.search_refund(reference, {"refund_id": "rfd_1"})
    assert (found.reference, found.amount, found.refund_id) == (made.reference, usd(700), "rfd_1")
    assert made.reference
    assert provider.gateway.retrieve_refund(made.reference).amount == usd(700)
    again = provider.gateway.refund(reference, usd(700), {"refund_id": "rfd_1"}, "rfd_1:refund")
    assert again.reference == made.reference
    assert provider.truth(reference)["refunded"] == 700


@pytest.mark.parametrize("fate", ["pending", "failed"])
def test_a_refund_that_waits_or_fails_says_so(provider: Provider, fate: str) -> None:
    reference = provider.held(usd(1_000))
    provider.gateway.capture(reference, 1_000, final=True, key="shp_1:capture")
    provider.sandbox.script({"kind": "refund_status", "status": fate}, service=provider.gateway.name)
    made = provider.gateway.refund(reference, usd(300), {"refund_id": "rfd_1"}, "rfd_1:refund")
    assert made.reference
    assert provider.gateway.retrieve_refund(made.reference).state is ProviderRefundStatus(fate)
    assert provider.gateway.search_refund(reference, {"refund_id": "rfd_1"}).state is ProviderRefundStatus(fate)


def test_one_that_failed_says_what_was_given_all_the_same(provider: Provider) -> None:
    """PayPal refunds captures: of two, one may have given its part when the other fails. Stripe knows no such thing."""
    reference = provider.held(usd(1_000))
    provider.gateway.capture(reference, 400, final=False, key="shp_1:capture")
    provider.gateway.capture(reference, 600, final=True, key="shp_2:capture")
    provider.sandbox.script({"kind": "refund_status", "status": "failed"}, service=provider.gateway.name)
    provider.gateway.refund(reference, usd(700), {"refund_id": "rfd_1"}, "rfd_1:pay_1")
    found = provider.gateway.search_refund(reference, {"refund_id": "rfd_1"})
    assert found.state is ProviderRefundStatus.FAILED
    given = found.refunded.amount if found.refunded else 0
    assert given == provider.truth(reference)["refunded"] == (300 if provider.gateway.name == "paypal" else 0)
    assert (found.refunded_reference is not None) == (given > 0)


def test_a_refund_that_is_not_known_is_absent(provider: Provider) -> None:
    assert provider.gateway.retrieve_refund("re_nothing").state is ProviderRefundStatus.ABSENT


@lost
def test_a_lost_authorisation_is_settled_once(provider: Provider, fate: dict[str, Any]) -> None:
    metadata = new_metadata()
    script(provider, "authorise", fate)

    def found() -> Any:
        seen = provider.gateway.search({name: metadata[name] for name in ("checkout_id", "attempt")}, lately())
        return None if seen.state is ProviderPaymentStatus.ABSENT else seen

    payment = settled(lambda key: provider.start(usd(1_000), metadata, key), found)
    assert payment.state is ProviderPaymentStatus.REQUIRES_ACTION
    provider.agree(payment.reference)
    assert provider.gateway.complete(payment.reference, "complete").state is ProviderPaymentStatus.AUTHORISED
    assert provider.truth(payment.reference)["held"] == 1_000


@lost
def test_a_lost_completion_is_settled_once(provider: Provider, fate: dict[str, Any]) -> None:
    payment = provider.start(usd(1_000), new_metadata(), "key")
    reference = payment.reference
    assert reference
    provider.agree(reference)
    if provider.gateway.name == "paypal":  # Stripe's only looks
        script(provider, "authorise", fate)

    def found() -> Any:
        seen = provider.gateway.retrieve(reference)
        return None if seen.state is ProviderPaymentStatus.APPROVED else seen

    assert (
        settled(lambda key: provider.gateway.complete(reference, key), found).state is ProviderPaymentStatus.AUTHORISED
    )
    assert provider.truth(reference)["held"] == 1_000


@lost
def test_a_lost_capture_is_settled_once(provider: Provider, fate: dict[str, Any]) -> None:
    reference = provider.held(usd(1_000))
    script(provider, "capture", fate)

    def found() -> Any:
        seen = provider.gateway.retrieve(reference)
        return seen if seen.captured == usd(400) else None

    payment = settled(lambda key: provider.gateway.capture(reference, 400, final=False, key=key), found)
    assert payment.captured == usd(400)
    assert provider.truth(reference) == {"received": 400, "refunded": 0, "held": 600}


@lost
def test_a_lost_refund_is_settled_once(provider: Provider, fate: dict[str, Any]) -> None:
    reference = provider.held(usd(1_000))
    provider.gateway.capture(reference, 600, final=False, key="shp_1:capture")
    provider.gateway.capture(reference, 400, final=True, key="shp_2:capture")
    script(provider, "refund", fate)
    ours = {"refund_id": "rfd_1"}

    def found() -> Any:
        seen = provider.gateway.search_refund(reference, ours)
        return seen if seen.state is not ProviderRefundStatus.ABSENT and seen.amount == usd(700) else None

    made = settled(lambda key: provider.gateway.refund(reference, usd(700), ours, key), found)
    assert (made.state, made.amount) == (ProviderRefundStatus.SUCCEEDED, usd(700))
    assert provider.truth(reference)["refunded"] == 700


@lost
def test_a_lost_void_is_settled_once(provider: Provider, fate: dict[str, Any]) -> None:
    reference = provider.held(usd(1_000))
    script(provider, "cancel", fate)
    done = settled(lambda _: provider.gateway.cancel(reference), lambda: None)
    assert done.state is ProviderPaymentStatus.CANCELLED
    assert provider.truth(reference)["held"] == 0


def test_nobody_reached_is_certain(provider: Provider) -> None:
    provider.gateway = type(provider)(type("Nowhere", (), {"url": "http://127.0.0.1:1"})()).gateway  # type: ignore[call-arg]
    with pytest.raises(ProviderUnavailable):
        provider.start(usd(1_000), new_metadata(), "key")


@pytest.mark.parametrize(("amount", "currency"), [(1_999, "USD"), (2_980, "JPY"), (4_500, "KWD")])
def test_minor_units_are_the_currencys_own(provider: Provider, amount: int, currency: str) -> None:
    money = Money.of(amount, currency)
    if currency not in provider.gateway.currencies:
        with pytest.raises(HoldfastError) as refused:
            provider.held(money)
        assert (refused.value.status, refused.value.extra["errors"][0]["pointer"]) == (422, "/payment/provider")
        return
    reference = provider.held(money)
    assert provider.gateway.retrieve(reference).amount == money
    assert provider.gateway.capture(reference, amount, final=True, key="shp_1:capture").captured == money
    assert provider.truth(reference)["received"] == amount
    made = provider.gateway.refund(reference, Money.of(1_000, currency), {"refund_id": "rfd_1"}, "rfd_1:refund")
    assert made.amount == Money.of(1_000, currency)


def test_stripe_takes_dinars_in_steps_of_ten_fils(sandbox: Sandbox) -> None:
    stripe = OnStripe(sandbox)
    with pytest.raises(PaymentMethodInvalid) as refused:
        stripe.held(Money.of(4_505, "KWD"))
    assert refused.value.extra["errors"][0]["pointer"] == "/payment/provider"
    assert sandbox.seen("/stripe/payment_intents") == []


def test_the_providers_list_has_all_that_moved(provider: Provider) -> None:
    metadata = new_metadata()
    waiting = provider.held(usd(700))
    reference = provider.held(usd(1_000), metadata)
    provider.gateway.capture(reference, 400, final=False, key="shp_1:capture")
    provider.gateway.capture(reference, 600, final=True, key="shp_2:capture")
    made = provider.gateway.refund(reference, usd(250), {"refund_id": "rfd_1"}, "rfd_1:refund")
    voided = provider.held(usd(800))
    provider.gateway.cancel(voided)
    moved = [one for one in provider.gateway.list_movements(lately()) if isinstance(one, Movement)]
    assert len({one.reference for one in moved}) == len(moved)
    captured = [one for one in moved if one.kind is MovementKind.CAPTURE]
    assert sorted(one.amount.amount for one in captured) == [400, 600]
    assert {one.checkout_id for one in captured} == {metadata["checkout_id"]}
    assert {one.payment for one in captured} == {reference}
    (refund,) = [one for one in moved if one.kind is MovementKind.REFUND]
    assert (refund.amount, refund.refund_id, refund.payment) == (usd(250), "rfd_1", reference)
    assert refund.source == made.reference
    held = [one.payment for one in moved if one.kind is MovementKind.AUTHORISATION]
    assert held == [waiting]


@pytest.mark.parametrize(
    ("paid", "settles", "rate"), [("EUR", "usd", 1.083), ("EUR", "gbp", 0.871), ("JPY", "usd", 0.00667)]
)
def test_stripes_movements_are_in_the_currency_that_the_buyer_paid_in(
    sandbox: Sandbox, paid: str, settles: str, rate: float
) -> None:
    """Its balance transactions are in the one that the account settles in."""
    sandbox.control("/stripe/settlement", {"currency": settles, "rates": {paid.lower(): rate}})
    stripe = OnStripe(sandbox)
    reference = stripe.held(Money.of(10_001, paid))
    stripe.gateway.capture(reference, 3_334, final=False, key="shp_1:capture")
    sandbox.control("/stripe/settlement", {"currency": settles, "rates": {paid.lower(): rate * 1.02}})
    stripe.gateway.capture(reference, 6_667, final=True, key="shp_2:capture")
    stripe.gateway.refund(reference, Money.of(2_001, paid), {"refund_id": "rfd_1"}, "rfd_1:refund")
    disputed = stripe.gateway.authorise(
        AuthorisationRequest(Money.of(1_003, paid), "pm_card_createDispute", new_metadata(), "disputed")
    )
    assert disputed.reference
    stripe.gateway.capture(disputed.reference, 1_003, final=True, key="shp_3:capture")
    # A page may repeat a movement.
    moved = {one.reference: one for one in stripe.gateway.list_movements(lately()) if isinstance(one, Movement)}
    assert {one.amount.currency for one in moved.values()} == {paid}
    captured = [one for one in moved.values() if one.kind is MovementKind.CAPTURE and one.payment == reference]
    assert len(captured) == 2
    assert sum(one.amount.amount for one in captured) == 10_001
    others = sorted((one.kind, one.amount.amount) for one in moved.values() if one not in captured)
    assert others == [("capture", 1_003), ("dispute", 1_003), ("refund", 2_001)]


def test_rows_in_no_currency_of_the_shop_are_foreign_movements(sandbox: Sandbox) -> None:
    stripe = OnStripe(sandbox)
    ours = stripe.held(usd(700))
    for capture_method in ("automatic", "manual"):  # a line of the balance, and an open authorisation
        sandbox.intent(currency="gbp", capture_method=capture_method)
    found = list(stripe.gateway.list_movements(lately()))
    assert [one.currency for one in found if isinstance(one, ForeignMovement)] == ["GBP", "GBP"]
    assert [one.payment for one in found if isinstance(one, Movement)] == [ours]
