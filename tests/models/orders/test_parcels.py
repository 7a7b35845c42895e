"""What carriers say ends the same in whatever order it is heard."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from models.orders.orders import TrackingEvent
from models.orders.parcels import CARRIER_STATUSES, is_late, status_of
from models.states import PARCEL_ENDS, SHIPMENT_TRANSITIONS, ShipmentStatus, advance

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
ON_THE_WAY = [status for status in CARRIER_STATUSES if status not in PARCEL_ENDS]
scans = st.lists(
    st.builds(
        lambda status, hour: TrackingEvent(status=status, at=BEGIN + timedelta(hours=hour)),
        st.sampled_from(ON_THE_WAY),
        st.integers(0, 8),
    ),
    max_size=10,
)
ends = st.none() | st.builds(
    lambda status, hour: TrackingEvent(status=status, at=BEGIN + timedelta(hours=hour)),
    st.sampled_from(PARCEL_ENDS),
    st.integers(0, 8),
)


def heard(told):
    """Where the parcel is once all was told, in this order; each step a legal one."""
    status, known = ShipmentStatus.SHIPPED, []
    for scan in told:
        if scan in known:
            continue
        if not is_late(status, known, scan):
            status = advance(SHIPMENT_TRANSITIONS, status, scan.status)
        known.append(scan)
    return status


@given(scans, ends, st.randoms())
def test_any_order_and_number_has_the_same_end(told, end, dice):
    told = [*told, *([end] if end else [])]
    shuffled = told + dice.choices(told, k=len(told)) if told else []
    dice.shuffle(shuffled)
    assert heard(shuffled) is heard(told) is (end.status if end else status_of(told))


@given(scans, scans, ends)
def test_after_its_end_nothing_moves_it(before, after, end):
    if end is not None:
        assert heard([*before, end, *after]) is end.status


def test_the_newest_by_the_carriers_clock_says():
    later = TrackingEvent(status=ShipmentStatus.OUT_FOR_DELIVERY, at=BEGIN + timedelta(hours=2))
    earlier = TrackingEvent(status=ShipmentStatus.EXCEPTION, at=BEGIN)
    assert status_of([later, earlier]) is status_of([earlier, later]) is ShipmentStatus.OUT_FOR_DELIVERY
    assert is_late(ShipmentStatus.OUT_FOR_DELIVERY, [later], earlier)
    assert status_of([]) is ShipmentStatus.SHIPPED
