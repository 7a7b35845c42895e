"""All invariants by name; `check_all` returns the violations."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from deploy.proof.invariants import cards, messages, money, orders, parcels, payment_retries, refunds, returns, stock
from deploy.proof.invariants.facts import Facts

Invariant = Callable[[Facts], Iterator[str]]


class Violation(NamedTuple):
    """`what` names the ids."""

    invariant: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}"


INVARIANTS: tuple[Invariant, ...] = (
    money.at_most_one_capture_per_checkout,
    money.every_payment_has_its_order,
    money.every_order_is_paid,
    money.nothing_is_undecided_at_the_provider,
    money.payments_are_what_the_provider_says,
    money.ledger_is_balanced,
    money.ledger_is_what_the_provider_says,
    money.orders_keep_what_has_left,
    refunds.refunds_never_exceed_captures,
    refunds.every_refund_is_at_the_provider_once,
    refunds.every_refund_at_the_provider_is_known,
    refunds.no_refund_is_on_its_way,
    refunds.refunds_are_their_events,
    refunds.refunds_have_no_process_left,
    payment_retries.orders_wait_with_their_payment,
    payment_retries.paid_orders_have_their_new_payment,
    payment_retries.texts_are_sent_once,
    stock.stock_is_conserved,
    stock.stock_is_never_negative,
    stock.reserved_is_what_is_held,
    stock.holds_follow_their_checkout,
    stock.orders_have_their_stock,
    stock.promotions_within_their_limit,
    returns.returned_units_were_shipped,
    returns.restocked_units_are_on_hand,
    returns.returns_are_their_events,
    returns.received_returns_are_paid_back,
    returns.returns_have_their_process,
    orders.one_order_per_cart,
    orders.orders_are_their_checkouts,
    orders.events_have_no_gaps,
    orders.replay_gives_the_row,
    orders.orders_are_found_by_their_terms,
    orders.acknowledged_orders_exist,
    orders.refusals_are_true,
    orders.one_key_has_one_response,
    orders.stored_responses_are_true,
    messages.one_confirmation_mail_per_order,
    messages.one_mail_a_notice,
    messages.outbox_is_drained,
    messages.no_checkout_is_left,
    messages.no_process_is_orphaned,
    messages.every_order_has_its_process,
    messages.shipments_are_out,
    parcels.shipments_are_their_events,
    parcels.shipments_under_way_are_tracked,
    parcels.carrier_events_are_applied,
    parcels.labels_are_bought_once,
    messages.nothing_is_left_for_people,
    cards.no_card_is_half_saved,
    cards.one_customer_a_person,
    cards.saved_cards_are_at_the_provider,
    cards.no_other_card_is_there,
    cards.one_default_a_person,
)


def check_all(facts: Facts) -> list[Violation]:
    """Empty when everything holds."""
    return [Violation(invariant.__name__, what) for invariant in INVARIANTS for what in invariant(facts)]
