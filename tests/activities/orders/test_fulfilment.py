"""The database steps of shipping: each repeated as a lost worker repeats it, each refusal certain."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from models.db.repositories.delivery import stored_responses
from models.errors import Conflict, InvalidTransition, NotEnoughToShip, NotFound
from models.ids import new_id
from models.orders.fulfilment import OrderRef, RecordTrackingEvent
from models.states import OrderStatus, ShipmentStatus
from tests.fixtures.steps import STAFF


@pytest.fixture
def order(steps):
    return steps.place(quantity=2)


def shipments(steps, order):
    rows = steps.sql("SELECT id, status FROM shipments WHERE order_id = :id ORDER BY created_at", id=order.id)
    return {row.id: row.status for row in rows}


def events(steps, order):
    rows = steps.sql("SELECT type FROM order_events WHERE order_id = :id ORDER BY version", id=order.id)
    return [row.type for row in rows]


def tracking(parcel, status, **changes):
    values: dict[str, Any] = {
        "order_id": parcel.order_id,
        "shipment_id": parcel.shipment_id,
        "status": status,
        "at": datetime(2026, 3, 1, tzinfo=UTC),
        "location": None,
        "actor": STAFF,
        "cause": new_id("evt"),
    }
    return RecordTrackingEvent(**{**values, **changes})


class TestPlanShipment:
    def test_is_the_parcels_share_of_the_payment_once(self, steps, order):
        parcel = steps.parcel(order, 1)
        planned = steps.fulfilment.plan_shipment(parcel)
        assert (planned.reference, planned.captured_before.amount, planned.final) == (order.reference, 0, False)
        assert 0 < planned.capture.amount < order.held.total.amount
        assert steps.fulfilment.plan_shipment(parcel) == planned.model_copy(update={"repeated": True})
        assert shipments(steps, order) == {parcel.shipment_id: "preparing"}
        assert events(steps, order) == ["order.confirmed", "order.processing_started"]

    def test_the_last_parcel_takes_the_rest(self, steps, order):
        steps.ship(order, 1)
        taken = steps.sql("SELECT captured FROM payments WHERE id = :id", id=order.payment_id)[0].captured
        planned = steps.fulfilment.plan_shipment(steps.parcel(order, 1))
        assert planned.final
        assert (planned.captured_before.amount, planned.capture.amount) == (taken, order.held.total.amount - taken)

    def test_names_the_parcel_that_has_to_go_out_before(self, steps, order):
        first, second = steps.parcel(order, 1), steps.parcel(order, 1)
        steps.fulfilment.plan_shipment(first)
        planned = steps.fulfilment.plan_shipment(second)
        assert (planned.unfinished.shipment_id, planned.unfinished.resume_only) == (first.shipment_id, True)
        assert shipments(steps, order) == {first.shipment_id: "preparing"}

    def test_refuses_more_than_is_left(self, steps, order):
        with pytest.raises(NotEnoughToShip):
            steps.fulfilment.plan_shipment(steps.parcel(order, 3))
        assert shipments(steps, order) == {}

    def test_refuses_a_tracking_number_of_another_parcel(self, steps, order):
        first = steps.ship(order, 1)
        with pytest.raises(Conflict):
            steps.fulfilment.plan_shipment(steps.parcel(order, 1, tracking_number=first.tracking_number))
        assert shipments(steps, order) == {first.shipment_id: "shipped"}

    def test_refuses_an_order_that_has_shipped(self, steps, order):
        steps.ship(order, 2)
        with pytest.raises(InvalidTransition):
            steps.fulfilment.plan_shipment(steps.parcel(order, 1))


class TestConfirmShipment:
    def test_takes_the_stock_and_the_money_once_and_keeps_the_answer(self, steps, order):
        key = new_id("key")
        parcel = steps.parcel(order, 1, key_digest=key, fingerprint=key)
        planned = steps.fulfilment.plan_shipment(parcel)
        for _ in range(2):
            steps.fulfilment.confirm_shipment(parcel, planned)
        assert shipments(steps, order) == {parcel.shipment_id: "shipped"}
        assert steps.stock(order.sku) == (1, 1)
        payment = steps.sql("SELECT state, captured FROM payments WHERE id = :id", id=order.payment_id)[0]
        assert tuple(payment) == ("captured", planned.capture.amount)
        assert steps.entries(order.payment_id).count("capture") == 1
        assert events(steps, order)[2:] == ["payment.captured", "shipment.created", "order.partially_shipped"]
        with steps.database.autocommit() as connection:
            stored = stored_responses.find(connection, key, key)
        assert stored.status == 201
        assert parcel.shipment_id in stored.body

    def test_a_plan_that_comes_after_it_is_finished(self, steps, order):
        parcel = steps.ship(order, 1)
        assert steps.fulfilment.plan_shipment(parcel).finished


class TestDiscardShipment:
    def test_undoes_the_plan_once(self, steps, order):
        parcel = steps.parcel(order, 1)
        steps.fulfilment.plan_shipment(parcel)
        for _ in range(2):
            steps.fulfilment.discard_shipment(parcel)
        assert shipments(steps, order) == {}
        assert steps.stock(order.sku) == (2, 2)
        again = steps.parcel(order, 1, tracking_number=parcel.tracking_number)
        assert not steps.fulfilment.plan_shipment(again).repeated

    def test_leaves_a_parcel_alone_that_has_gone_out(self, steps, order):
        parcel = steps.ship(order, 1)
        steps.fulfilment.discard_shipment(parcel)
        assert shipments(steps, order) == {parcel.shipment_id: "shipped"}


class TestRecordTrackingEvent:
    def test_is_an_event_of_the_order_once(self, steps, order):
        parcel = steps.ship(order, 2)
        before = events(steps, order)
        for _ in range(2):
            steps.fulfilment.record_tracking_event(tracking(parcel, ShipmentStatus.IN_TRANSIT))
        assert events(steps, order) == [*before, "shipment.scanned"]
        assert shipments(steps, order) == {parcel.shipment_id: "in_transit"}

    def test_refuses_an_unknown_parcel(self, steps, order):
        with pytest.raises(NotFound):
            steps.fulfilment.record_tracking_event(tracking(steps.parcel(order, 1), ShipmentStatus.IN_TRANSIT))

    def test_refuses_what_comes_after_the_delivery(self, steps, order):
        parcel = steps.ship(order, 2)
        steps.fulfilment.record_tracking_event(tracking(parcel, ShipmentStatus.DELIVERED))
        with pytest.raises(InvalidTransition):
            steps.fulfilment.record_tracking_event(tracking(parcel, ShipmentStatus.IN_TRANSIT))
        assert shipments(steps, order) == {parcel.shipment_id: "delivered"}


class TestCompleteOrder:
    def test_closes_a_delivered_order_once(self, steps, order):
        steps.fulfilment.record_tracking_event(tracking(steps.ship(order, 2), ShipmentStatus.DELIVERED))
        ref = OrderRef(order_id=order.id)
        assert [steps.fulfilment.complete_order(ref) for _ in range(2)] == [OrderStatus.COMPLETED] * 2
        assert events(steps, order).count("order.completed") == 1

    def test_leaves_an_order_open_that_is_on_its_way(self, steps, order):
        steps.ship(order, 2)
        assert steps.fulfilment.complete_order(OrderRef(order_id=order.id)) is OrderStatus.SHIPPED
