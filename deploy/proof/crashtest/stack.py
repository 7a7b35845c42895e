"""A private stack in a folder of its own, on free ports, so that no other stack is ever killed."""

import os
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.demo.seed import seed_catalogue
from deploy.stack import engines, plan
from deploy.stack.ports import free_ports
from deploy.stack.process import Process
from deploy.stack.supervisor import Supervisor
from models.db.migrate import upgrade
from models.db.session import Database
from runtime.settings import Settings

PORTS = ("api", "postgres", "valkey", "temporal", "temporal_ui", "sandbox", "worker_metrics")
MORE_PORTS = 4  # further workers' metrics ports follow the first one's

# Business times short enough for every end of a checkout within one run: the hold runs out before the time at the bank,
# and a mail with an unknown outcome waits longer for its event than any outage here lasts.
SHORT = {
    "hold_seconds": 12.0,
    "payment_action_seconds": 18.0,
    "payment_lookup_seconds": 5.0,
    "mail_unknown_seconds": 25.0,
    "return_window_seconds": 8.0,
}


class PrivateStack:
    """`with PrivateStack() as stack`: engines, sandbox, workers and API, supervised with unlimited restarts.

    `worker`: the program that its worker runs, where it is not `holdfast worker`.
    """

    def __init__(self, changes: Mapping[str, Any] = SHORT, *, worker: Sequence[str] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-crashtest-"))
        ports = dict(zip((f"{name}_port" for name in PORTS), free_ports(len(PORTS) + MORE_PORTS), strict=False))
        self.settings = Settings.model_validate({"data_dir": self.folder, **ports, **changes})
        self.supervisor = Supervisor(self.folder / "logs", on_event=lambda line: None, restarts=None)
        self._worker = worker
        self.keep = False  # whether the folder stays, for an analysis

    def __enter__(self) -> Self:
        forget_environment()
        try:
            self._bring_up()
        except BaseException:
            self.keep = True
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.keep = self.keep or isinstance(error, Exception)
        self.close()

    def _bring_up(self) -> None:
        settings = self.settings
        engines.start_together(self.supervisor, [*engines.engines(settings), *plan.outside_world(settings)])
        upgrade(settings.database)
        database = Database(settings.database, pool_size=1, application="holdfast-crashtest")
        try:
            seed_catalogue(database)
        finally:
            database.close()
        engines.start_together(self.supervisor, [self.worker(settings), plan.holdfast(settings)[1]])

    def worker(self, settings: Settings) -> Process:
        process = plan.holdfast(settings)[0]
        return replace(process, command=self._worker) if self._worker else process

    def kill(self, victim: str) -> bool:
        """Sends SIGKILL; the supervisor restarts it. False when it was dead already. `worker` means all workers."""
        pids = [pid for name, pid in self.supervisor.pids.items() if name.startswith(victim)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def close(self) -> None:
        self.supervisor.kill_all()  # no orderly stop is needed here
        self.supervisor.close()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)


def forget_environment() -> None:
    """Ignores what the caller exported for another stack."""
    for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        del os.environ[name]
