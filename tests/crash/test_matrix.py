"""Every side effect, with its worker killed exactly before it, and between it and its return."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from api.tokens import Tokens
from deploy.proof.crashtest.aftercare import Aftercare
from deploy.proof.crashtest.buyers import Buyer, Notebook
from deploy.proof.crashtest.client import Response, TooLate, insist
from deploy.proof.crashtest.script import DECLINED, PAYPAL, THREE_D_SECURE, VISA, AtTheBank, Clicks, Visit
from deploy.proof.crashtest.wait_until_idle import wait_until_idle
from deploy.proof.invariants.check import Violation, check_all
from deploy.proof.invariants.facts import Facts, gather
from runtime.settings import Settings
from tests.crash import manual_tasks, parcels, refunding, retrying
from tests.crash.afterwards import Afterwards
from tests.crash.conftest import Crashing, failpoints
from tests.crash.owners import CardOwner

pytestmark = pytest.mark.crash

SKU = "HF-TRAIL-JKT-M-RED"
PATIENCE = 400.0  # of a buyer, and for one failpoint to be reached: deaths in a row make Temporal wait ever longer
AFTERWARDS = 20.0  # the same once its buyer has been answered: mails and the like come later
TRIES = 3
AT_ONCE = 2  # more deaths at a time, and Temporal would wait longer than anybody


@dataclass(frozen=True)
class Scenario:
    """How a failpoint is reached, and what has to have come of it. `patient`: time leads there, not a click."""

    end: str
    method: str = VISA
    bank: AtTheBank = AtTheBank.RETURN
    lost: bool = False  # the provider resets the connection before anything happens
    shipped: bool = False
    patient: bool = False


@dataclass(frozen=True)
class Saving:
    """The same for a card that is to be kept for later. `removed`: and then no longer. `bought`: as it pays."""

    end: str
    method: str = VISA
    bank: AtTheBank = AtTheBank.RETURN
    lost: bool = False
    removed: bool = False
    bought: bool = False
    patient: bool = False


@dataclass(frozen=True)
class Later:
    """What is done to an order that was bought: `before` the failpoint is armed, then `act`; see Afterwards.

    `end` is the order's status once all is at rest.
    """

    end: str
    act: Callable[[Afterwards], None]
    before: tuple[Callable[[Afterwards], None], ...] = ()
    method: str = VISA
    patient: bool = False
    alone: bool = False  # it judges everything that is under way, so nothing else may be


BOUGHT = Scenario("confirmed")
SHIPPED = Scenario("confirmed", shipped=True)
KEPT = Saving("saved")
ABANDONED = Scenario("expired", THREE_D_SECURE, AtTheBank.WALK_AWAY, patient=True)


def ship_one(order: Afterwards) -> None:
    """One unit leaves and arrives; another is left."""
    order.ship(1)
    order.arrive()


RETURNING = (Afterwards.ship, Afterwards.announce_return)
PAID_ANEW = Later("shipped", retrying.pay_anew)

RECONCILED = Later("confirmed", manual_tasks.be_reconciled, alone=True)

SCENARIOS: dict[str, Scenario | Saving | Later] = {
    "hold_stock": BOUGHT,
    "authorise_payment": BOUGHT,
    "resolve_payment_outcome": Scenario("confirmed", lost=True),
    "require_action": Scenario("confirmed", THREE_D_SECURE),
    "complete_payment": Scenario("confirmed", PAYPAL),
    "confirm_order": BOUGHT,
    "close_checkout": Scenario("declined", DECLINED[0]),
    "void_payment": Scenario("declined", THREE_D_SECURE, AtTheBank.FAIL),
    "release_hold": ABANDONED,
    "cancel_payment": ABANDONED,
    "send_order_confirmation": BOUGHT,
    "send_mail": BOUGHT,
    "plan_shipment": SHIPPED,
    "capture_payment": SHIPPED,
    "confirm_shipment": SHIPPED,
    "record_tracking_event": SHIPPED,
    "complete_order": SHIPPED,
    "begin_payment_method": KEPT,
    "ensure_payment_customer": KEPT,
    "set_up_payment_method": KEPT,
    "resolve_setup_outcome": Saving("saved", lost=True),
    "require_setup_action": Saving("saved", THREE_D_SECURE),
    "cancel_setup": Saving("failed", THREE_D_SECURE, AtTheBank.WALK_AWAY, patient=True),
    "undo_setup": Saving("failed", THREE_D_SECURE, AtTheBank.FAIL),
    "record_saved_payment_method": KEPT,
    "close_payment_method": Saving("failed", DECLINED[0]),
    "detach_payment_method": Saving("removed", removed=True),
    "cancel_order": Later("cancelled", Afterwards.cancel_by_operator),
    "release_authorisation": Later("cancelled", Afterwards.cancel),
    "cancel_remainder": Later("completed", Afterwards.cancel_the_rest_by_operator, (ship_one,)),
    "receive_return": Later("returned", Afterwards.receive_return_by_operator, RETURNING),
    "refuse_return": Later("shipped", Afterwards.refuse_return_by_operator, RETURNING),
    "expire_return": Later("shipped", Afterwards.let_return_expire, RETURNING),
    "refund_payment": Later("shipped", Afterwards.refund, (Afterwards.ship,)),
    "record_refund": Later("shipped", Afterwards.refund, (Afterwards.ship,)),
    "retry_refund": Later("shipped", refunding.try_it_again, (Afterwards.ship, refunding.have_a_refund_sent_back)),
    "adopt_refund": Later("shipped", refunding.refund_at_the_provider, (Afterwards.ship,)),
    "buy_label": Later("completed", parcels.ship_by_label),
    "void_label": Later("cancelled", parcels.have_its_capture_refused),
    "poll_carrier": Later("completed", parcels.be_asked_after, (Afterwards.ship,)),
    "declare_shipment_lost": Later("returned", parcels.go_missing, (parcels.label,)),
    "save_checkout_payment_method": Saving("saved", bought=True),
    "fail_payment": PAID_ANEW,
    "begin_payment_retry": PAID_ANEW,
    "void_payment_attempt": PAID_ANEW,
    "record_retry_schedule": PAID_ANEW,
    "plan_payment_attempt": Later("shipped", retrying.finish_with_another_card, (retrying.have_it_refused,)),
    "charge_order": Later("shipped", retrying.finish_with_another_card, (retrying.have_it_refused,)),
    "accept_payment": Later("shipped", retrying.finish_with_another_card, (retrying.have_it_refused,)),
    "require_payer_action": Later("shipped", retrying.pay_at_the_bank, (retrying.have_it_refused,)),
    "give_up_payment": Later("cancelled", retrying.give_up, (retrying.have_it_refused,)),
    "send_sms": Later("cancelled", retrying.be_texted),
    "escalate_failure": Later("cancelled", manual_tasks.be_let_go_of_by_a_person),
    "close_task": Later("cancelled", manual_tasks.be_let_go_of_by_a_person),
    "begin_reconciliation": RECONCILED,
    "read_movements": RECONCILED,
    "compare_ledger": RECONCILED,
    "resolve_difference": Later(
        "confirmed", manual_tasks.have_it_found, (manual_tasks.have_another_authorisation,), alone=True
    ),
    "end_reconciliation": RECONCILED,
}
READS = {
    "orphaned_checkout",
    "list_providers",
    "list_unresolved_differences",
    "load_order",
    "load_shipment",
    "load_return",
    "retrieve_payment",
    "load_refund",
}
WITHOUT_SCENARIO = READS | {
    "record_removed_payment_method",
    "discard_shipment",  # only where no label is sold, or the order can't wait for another payment
    "expire_link",
    "hold_order",
    "escalate_difference",
    "retrieve_payment_attempt",
    "retrieve_setup",
    "open_task",
    "release_order",
    "send_link",  # its effect is send_mail's
    "notify_password_reset",  # the same
}
NAMES = [name for name in failpoints() if name.split(":")[0] not in WITHOUT_SCENARIO]
BUYING = [name for name in NAMES if isinstance(SCENARIOS.get(name.split(":")[0]), Scenario)]
LATER = [name for name in NAMES if isinstance(SCENARIOS.get(name.split(":")[0]), Later)]
KEEPING = [name for name in NAMES if isinstance(SCENARIOS.get(name.split(":")[0]), Saving)]


@dataclass
class Outcome:
    struck: bool = False
    cart_id: str = ""
    user_id: str = ""
    order_id: str | None = None
    error: str = ""


@dataclass
class Matrix:
    outcomes: dict[str, Outcome]
    complaints: list[str]
    restless: str | None
    facts: Facts
    violations: list[Violation]


class Runner:
    """A few failpoints are armed at a time (besides those that only time leads to); recoveries overlap."""

    def __init__(self, crashing: Crashing, names: list[str], notebook: Notebook) -> None:
        self._names = names
        self._crashing = crashing
        self._settings = crashing.unhurried
        self._tokens = Tokens.of(crashing.settings)
        self._few = threading.Semaphore(AT_ONCE)
        self._all_ready = threading.Barrier(len(names))  # nobody's way to his failpoint is somebody else's storm
        self._notebook = notebook

    def run_all(self) -> dict[str, Outcome]:
        with ThreadPoolExecutor(len(self._names)) as pool:
            return dict(zip(self._names, pool.map(self._run, self._names), strict=True))

    def _run(self, name: str) -> Outcome:
        outcome = Outcome()
        scenario = SCENARIOS[name.split(":")[0]]
        try:
            for attempt in range(TRIES):  # another case's death may have led this buyer past the failpoint
                act = self._prepare(scenario, outcome)
                if attempt == 0:
                    self._all_ready.wait(PATIENCE)
                if scenario.patient:
                    self._strike(name, act, outcome)  # its end comes while others begin
                    break
                with self._few:
                    acting = self._strike(name, act, outcome)
                acting.join()
                if outcome.struck:
                    break
        except Exception as error:
            self._all_ready.abort()
            outcome.error = repr(error)
        return outcome

    def _prepare(self, scenario: Scenario | Saving | Later, outcome: Outcome) -> Callable[[], None]:
        if isinstance(scenario, Later):
            return self._later(scenario, outcome)
        if isinstance(scenario, Saving):
            owner = CardOwner(self._settings_of(scenario), self._tokens, PATIENCE)
            outcome.user_id = owner.user_id
            return self._owner_ready(scenario, owner)
        buyer = self._buyer(scenario)
        outcome.cart_id = buyer.cart_id
        return self._ready(scenario, buyer)

    def _settings_of(self, scenario: Scenario | Saving) -> Settings:
        """Those who wait for the end of the time to pay are in a hurry."""
        return self._crashing.settings if scenario.patient else self._settings

    def _later(self, scenario: Later, outcome: Outcome) -> Callable[[], None]:
        """Bought, and brought as far as the step begins."""
        buyer = self._buyer(Scenario("confirmed", scenario.method))
        outcome.cart_id = buyer.cart_id
        order = buyer.buy(scenario.method).body["order"]
        afterwards = Afterwards(self._settings, self._tokens, self._notebook, buyer, order, PATIENCE)
        for step in scenario.before:
            step(afterwards)
        return lambda: scenario.act(afterwards)

    def _owner_ready(self, scenario: Saving, owner: CardOwner) -> Callable[[], None]:
        """What is to be done once the failpoint is armed."""
        if scenario.removed:
            entry = owner.save(scenario.method, scenario.bank).body["id"]
            return lambda: self._expect(owner.remove(entry), 204)
        if scenario.bought:
            return lambda: self._expect(owner.buy(scenario.method), 201)
        if scenario.lost:
            owner.lose_the_next_set_up()
        saved = 201 if scenario.end == "saved" else 409 if scenario.patient else 402
        return lambda: self._expect(owner.save(scenario.method, scenario.bank), saved)

    def _expect(self, answer: Response, status: int) -> None:
        if answer.status != status:
            self._notebook.complaints.append(f"{answer.status} where {status} was due: {answer.raw[:200]}")

    def _buyer(self, scenario: Scenario) -> Buyer:
        visit = Visit(
            number=0,
            at=0,
            items=((SKU, 2),),
            method=scenario.method,
            bank=scenario.bank,
            clicks=Clicks.ONE,
            second_try=False,
            code=None,
            customer=False,
        )
        buyer = Buyer(visit, self._settings_of(scenario), self._tokens, self._notebook, PATIENCE)
        assert buyer.fill_cart()
        if scenario.lost:
            script = {
                "service": "stripe",
                "match": {"path": "/v1/payment_intents", "method": "POST", "metadata": {"cart_id": buyer.cart_id}},
                "outcomes": [{"kind": "reset_connection_before"}],
            }
            insist(self._settings.sandbox_url, "POST", "/_sandbox/script", script, until=time.monotonic() + PATIENCE)
        return buyer

    def _ready(self, scenario: Scenario, buyer: Buyer) -> Callable[[], None]:
        """What is to be done once the failpoint is armed."""

        def buy() -> None:
            buyer.buy(scenario.method)

        if not scenario.shipped:
            return buy
        order = buyer.buy(scenario.method).body["order"]
        aftercare = Aftercare(self._settings, self._tokens, self._notebook, PATIENCE)
        return lambda: aftercare.ship(order, in_parts=False)

    def _strike(self, name: str, act: Callable[[], None], outcome: Outcome) -> threading.Thread:
        """Arms, acts, and waits until it has struck."""
        self._crashing.arm(name)

        def guarded() -> None:
            try:
                act()
            except TooLate as error:  # who walked away has no end to wait for: the facts tell it
                if not SCENARIOS[name.split(":")[0]].patient:
                    outcome.error = repr(error)

        acting = threading.Thread(target=guarded, name=name)
        acting.start()
        ended = time.monotonic()
        deadline = ended + PATIENCE
        while not (struck := self._crashing.has_struck(name)) and time.monotonic() < deadline:
            if acting.is_alive() or SCENARIOS[name.split(":")[0]].patient:
                ended = time.monotonic()
            elif time.monotonic() - ended > AFTERWARDS:
                break
            time.sleep(0.02)
        outcome.struck = struck
        return acting


@pytest.fixture(scope="module")
def matrix(crashing: Crashing) -> Matrix:
    names = NAMES
    patient = [name for name in names if SCENARIOS[name.split(":")[0]].patient]
    alone = [name for name in names if getattr(SCENARIOS[name.split(":")[0]], "alone", False)]
    outcomes: dict[str, Outcome] = {}
    notebook = Notebook()
    # First those that only time leads to: a storm of other deaths could make their moment pass unseen.
    for some in (patient, [name for name in names if name not in (*patient, *alone)], alone):
        if some is alone:
            wait_until_idle(crashing.settings, PATIENCE)
        outcomes |= Runner(crashing, some, notebook).run_all()
    restless = wait_until_idle(crashing.settings, PATIENCE)
    facts = gather(crashing.settings, notebook.responses)
    return Matrix(outcomes, notebook.complaints, restless, facts, check_all(facts))


def test_every_failpoint_has_its_scenario() -> None:
    """A new activity can't be forgotten here."""
    names = failpoints()
    assert {name.split(":")[0] for name in names} == SCENARIOS.keys() | WITHOUT_SCENARIO
    assert not SCENARIOS.keys() & WITHOUT_SCENARIO
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", BUYING)
def test_a_worker_that_dies_there_changes_nothing(matrix: Matrix, name: str) -> None:
    outcome = matrix.outcomes[name]
    scenario = SCENARIOS[name.split(":")[0]]
    assert isinstance(scenario, Scenario)
    assert not outcome.error
    assert outcome.struck, "the failpoint was never reached"
    ends = [checkout["status"] for checkout in matrix.facts.checkouts if checkout["cart_id"] == outcome.cart_id]
    assert [end for end in ends if end != "refused"] == [scenario.end]  # refused: a 503 before the same key's success
    orders = [order for order in matrix.facts.orders if order["cart_id"] == outcome.cart_id]
    assert len(orders) == (scenario.end == "confirmed")
    if scenario.shipped:
        assert orders[0]["status"] == "completed"


@pytest.mark.parametrize("name", LATER)
def test_nor_anything_that_is_done_to_an_order_later(matrix: Matrix, name: str) -> None:
    outcome = matrix.outcomes[name]
    assert not outcome.error
    assert outcome.struck, "the failpoint was never reached"
    (order,) = [order for order in matrix.facts.orders if order["cart_id"] == outcome.cart_id]
    assert order["status"] == SCENARIOS[name.split(":")[0]].end


@pytest.mark.parametrize("name", KEEPING)
def test_nor_anything_about_saved_cards(matrix: Matrix, name: str) -> None:
    outcome = matrix.outcomes[name]
    assert not outcome.error
    assert outcome.struck, "the failpoint was never reached"
    cards = [card for card in matrix.facts.cards if card["user_id"] == outcome.user_id]
    # Unavailable: a 503 before the same key's success.
    ends = [card["state"] for card in cards if card["reason"] != "unavailable"]
    assert ends == [SCENARIOS[name.split(":")[0]].end]


def test_and_every_invariant_holds(matrix: Matrix) -> None:
    assert matrix.violations == []
    assert matrix.complaints == []
    assert matrix.restless is None
    assert len(matrix.facts.orders) > len(BUYING) // 2
    assert len(matrix.facts.cards) >= len(KEEPING) > 0
