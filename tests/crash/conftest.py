"""One private stack for all crash tests: three workers that die where a test says, and business times of seconds."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.proof.crashtest.stack import PrivateStack
from deploy.stack import plan
from deploy.stack.ports import free_ports
from runtime.settings import Settings
from workers.registry import build

ACTIVITIES = Path(__file__).parents[2] / "activities"
WORKERS = 3  # so that there is one to go on while another starts again

WORKER = (sys.executable, "-m", "tests.fixtures.forked_worker")

TIMES = {
    "hold_seconds": 6.0,
    "payment_action_seconds": 30.0,
    "payment_lookup_seconds": 2.0,
    "mail_unknown_seconds": 6.0,
    "return_window_seconds": 0.5,
    "checkout_deadline_seconds": 6.0,
}


def failpoints() -> list[str]:
    """Two of every registered activity, and those inside activities and mails."""
    names = sorted({each.__name__ for work in build(Settings(), None).values() for each in work.activities})
    sources = "".join(path.read_text() for path in sorted(ACTIVITIES.rglob("*.py")))
    inner = re.findall(r'failpoint\("(\w+:\w+)"\)', sources)
    return [f"{name}:{place}" for name in names for place in ("before", "after")] + inner


class Crashing:
    """A stack whose workers kill themselves at a failpoint: once each time that it is armed.

    `unhurried`: reaches another API, at which a buyer has minutes at the bank and not `payment_action_seconds`: when
    many workers die in a row, Temporal takes longer than that to go on with a checkout.
    """

    def __init__(self, stack: PrivateStack, markers: Path) -> None:
        self.stack = stack
        self.settings = stack.settings
        self.unhurried = stack.settings.model_copy(
            update={"api_port": free_ports(1)[0], "payment_action_seconds": 300.0}
        )
        stack.supervisor.start(replace(plan.holdfast(self.unhurried)[1], name="api-unhurried"))
        self._markers = markers

    @property
    def workers(self) -> list[str]:
        return [name for name in self.stack.supervisor.names if name.startswith("worker")]

    def arm(self, name: str) -> None:
        (self._markers / name).unlink(missing_ok=True)  # it may be armed still, from a try that was led past it

    def has_struck(self, name: str) -> bool:
        return (self._markers / name).exists()


@pytest.fixture(scope="package", autouse=True)
def _unmeasured() -> Iterator[None]:
    """Processes that are killed measure no coverage: they die before they can write it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


@pytest.fixture(scope="package")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashing]:
    markers = tmp_path_factory.mktemp("failpoints")
    for name in failpoints():
        (markers / name).touch()  # struck already: nothing happens there until it is armed
    spec = ";".join(f"{name}=kill@{markers / name}" for name in failpoints())
    with PrivateStack({**TIMES, "failpoints": spec}, worker=WORKER) as stack:
        stack.supervisor.back_off = (0.1,)  # they die on purpose
        for number in range(2, WORKERS + 1):
            port = stack.settings.worker_metrics_port + number - 1
            another = stack.worker(stack.settings.model_copy(update={"worker_metrics_port": port}))
            stack.supervisor.start(replace(another, name=f"workers-{number}"))
        yield Crashing(stack, markers)
