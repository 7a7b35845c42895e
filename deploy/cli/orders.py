"""`holdfast orders rebuild`: compares orders' rows and search terms with their events, and rebuilds them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from deploy.errors import StackError
from deploy.proof.invariants import orders as invariants
from deploy.proof.invariants.facts import Facts
from models.db.repositories.orders import projections
from models.db.session import Database
from models.errors import HoldfastError, Unavailable
from runtime.settings import Settings

BATCH = 500
SHOWN = 50


def rebuild(settings: Settings, say: Callable[[str], None], *, check: bool) -> bool:
    """Rebuilds every order that is not the fold of its events; with `check` it only reports. Returns whether all is
    well.

    Safe beside a running shop: batches are read in short transactions, and an order is locked only while it is written.
    """
    database = Database(settings.database, pool_size=1, application="holdfast-orders")
    try:
        return _all(database, say, check=check)
    except Unavailable as error:
        raise StackError("the orders can't be read", error.detail) from error
    finally:
        database.close()


def _all(database: Database, say: Callable[[str], None], *, check: bool) -> bool:
    seen, differing, lost, after = 0, 0, 0, ""
    while True:
        with database.transaction() as connection:
            batch = projections.read_batch(connection, after=after, limit=BATCH)
        if not batch.orders:
            break
        for order_id, differences in differences_in(batch).items():
            differing += 1
            if differing <= SHOWN:
                say("\n".join(differences))
            if not check and not _rebuilt(database, order_id, say):
                lost += 1
        seen, after = seen + len(batch.orders), batch.orders[-1]["id"]
    done = "" if check else f", {differing - lost} rebuilt"
    say(f"orders: {seen} read, {differing} not what their events say{done}")
    return (differing if check else lost) == 0


def differences_in(batch: projections.Batch) -> dict[str, list[str]]:
    """The violated invariants by order id, as lines of text."""
    events, terms = _by_order(batch.events), _by_order(batch.terms)
    found: dict[str, list[str]] = {}
    for order in batch.orders:
        facts = Facts(orders=[order], events=events[order["id"]], terms=terms[order["id"]])
        lines = [line for invariant in invariants.OF_ONE_ORDER for line in invariant(facts)]
        if lines:
            found[order["id"]] = lines
    return found


def _by_order(rows: projections.Rows) -> dict[str, projections.Rows]:
    found: dict[str, projections.Rows] = defaultdict(list)
    for row in rows:
        found[row["order_id"]].append(row)
    return found


def _rebuilt(database: Database, order_id: str, say: Callable[[str], None]) -> bool:
    try:
        with database.transaction() as connection:
            projections.rebuild(connection, order_id)
    except Unavailable:
        raise
    except (HoldfastError, ValueError, KeyError) as error:
        say(f"{order_id} can't be rebuilt: {error!r}")
        return False
    return True
