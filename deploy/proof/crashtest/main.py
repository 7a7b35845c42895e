"""`holdfast crashtest`: simulated buyers, random kills, then every invariant; exit status 0 only when all held."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from api.tokens import Tokens
from deploy.proof.crashtest.aftercare import Aftercare
from deploy.proof.crashtest.buyers import Buyer, Notebook
from deploy.proof.crashtest.client import insist
from deploy.proof.crashtest.script import HOT_SKUS, PROMOTION, Kill, Script, Visit, write
from deploy.proof.crashtest.stack import PrivateStack
from deploy.proof.crashtest.wait_until_idle import wait_until_idle
from deploy.proof.invariants.check import Violation, check_all
from deploy.proof.invariants.facts import Facts, gather
from deploy.stack.signals import StopRequested, stopping
from models.accounts.access import Principal, Role
from models.db.session import Database
from models.ids import new_id
from runtime.settings import Settings

BUYERS_AT_ONCE = 48
SETTLE_SECONDS = 150.0
SEEDS = 1_000_000


@dataclass(frozen=True)
class CrashtestResult:
    facts: Facts
    violations: list[Violation]


def run(seed: int | None = None, checkouts: int = 200, kills: int = 30) -> int:
    """Prints every kill and violation, and one summary as the last line."""
    seed = random.randrange(SEEDS) if seed is None else seed  # noqa: S311  chance, not secrets
    began = time.monotonic()
    arguments = f"seed={seed} checkouts={checkouts} kills={kills}"
    say(f"crashtest: {arguments}; repeat it with make crashtest SEED={seed} CHECKOUTS={checkouts} KILLS={kills}")
    held = False
    try:
        with stopping(None), PrivateStack() as stack:
            verdict = crash(stack, write(seed, checkouts, kills))
            if verdict.violations:
                stack.keep = True
                say(f"data and logs: {stack.folder}")
        status = Counter[str](checkout["status"] for checkout in verdict.facts.checkouts)
        counts = f"orders={len(verdict.facts.orders)} declined={status['declined']} expired={status['expired']}"
        held = not verdict.violations
        say(
            f"crashtest {'ok' if held else 'FAILED'}: {arguments} {counts} "
            f"violations={len(verdict.violations)} seconds={time.monotonic() - began:.0f}"
        )
    except StopRequested:
        say(f"crashtest FAILED: {arguments} (interrupted)")
    except Exception as error:  # noqa: BLE001  whatever it is, the last line is the summary
        say(f"crashtest FAILED: {arguments} ({type(error).__name__}: {error})")
    return 0 if held else 1


def crash(stack: PrivateStack, script: Script) -> CrashtestResult:
    """Runs the test on a running stack and waits until it is idle; a violation says if it never is."""
    settings, notebook = stack.settings, Notebook()
    tokens = Tokens.of(settings)
    open_shop(settings, tokens, script)
    say(f"the shop is open at {settings.api_url}")
    with killing(stack, script.kills):
        sell(script, settings, tokens, notebook)
    say("all buyers have finished; waiting until the shop is idle")
    restless = wait_until_idle(settings, SETTLE_SECONDS)
    facts = gather(settings, notebook.responses)
    violations = check_all(facts)
    violations += [Violation("every_buyer_is_answered", complaint) for complaint in notebook.complaints]
    if restless:
        violations.append(Violation("the_shop_comes_to_rest", f"after {SETTLE_SECONDS:.0f} s: {restless}"))
    for violation in violations:
        say(f"VIOLATION {violation}")
    return CrashtestResult(facts, violations)


def open_shop(settings: Settings, tokens: Tokens, script: Script) -> None:
    """Creates three SKUs with less stock than will be wanted, and a code that will be used up."""
    clerk = Principal(user_id=new_id("usr"), role=Role.ADMIN)
    headers = {"Authorization": f"Bearer {tokens.issue(clerk)}"}
    until = time.monotonic() + 30
    for sku in HOT_SKUS:
        levels = insist(settings.api_url, "GET", f"/v1/inventory/{sku}", headers=headers, until=until).body
        left = script.hot_stock
        for level in levels["by_location"]:
            wanted, left = left - left // 2, left // 2
            body = {"location": level["location"], "delta": wanted - level["on_hand"], "reason": "crashtest"}
            insist(settings.api_url, "POST", f"/v1/inventory/{sku}/adjustments", body, headers, until=until)
    database = Database(settings.database, pool_size=1, application="holdfast-crashtest")
    with database.transaction() as connection:
        connection.exec_driver_sql(
            "UPDATE promotions SET usage_limit = %s WHERE code = %s", (script.promotion_limit, PROMOTION)
        )
    database.close()


def sell(script: Script, settings: Settings, tokens: Tokens, notebook: Notebook) -> None:
    """Starts every buyer in time and waits for all."""
    aftercare = Aftercare(settings, tokens, notebook)
    began = time.monotonic()

    def visit(wish: Visit) -> None:
        time.sleep(max(0.0, began + wish.at - time.monotonic()))
        try:
            buyer = Buyer(wish, settings, tokens, notebook)
            order = buyer.run()
            if order:
                aftercare.live_on(order, wish.after, buyer.headers)
        except Exception as error:  # noqa: BLE001  a buyer that can't go on is a finding, not the end of the run
            notebook.complain(f"buyer {wish.number} met {type(error).__name__}: {error}")

    with ThreadPoolExecutor(BUYERS_AT_ONCE, thread_name_prefix="buyer") as street:
        list(street.map(visit, script.visits))


@contextmanager
def killing(stack: PrivateStack, kills: tuple[Kill, ...]) -> Iterator[None]:
    """Kills processes while the block runs; all kills are done when it ends."""
    began = time.monotonic()

    def kill_all() -> None:
        for number, kill in enumerate(kills, 1):
            time.sleep(max(0.0, began + kill.at - time.monotonic()))
            while not stack.kill(kill.victim) and stack.supervisor.failure is None:
                time.sleep(0.05)  # not restarted yet
            say(f"{time.monotonic() - began:6.1f} s  kill {number}/{len(kills)}: {kill.victim}")

    killer = threading.Thread(target=kill_all, name="killer")
    killer.start()
    yield
    killer.join()


def say(line: str) -> None:
    print(line, flush=True)
