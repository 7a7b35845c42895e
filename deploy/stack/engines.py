"""The engines of one stack: the embedded ones, except where the settings name a server of one's own."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from deploy.stack import postgres, temporal, valkey
from deploy.stack.process import Process
from deploy.stack.supervisor import Supervisor
from deploy.stack.temporal_binary import Say
from models.settings import Settings


def engines(settings: Settings, say: Say = print) -> list[Process]:
    """Those to start here."""
    embedded = []
    if not settings.database_url:
        embedded.append(postgres.process(settings))
    if not settings.redis_url:
        embedded.append(valkey.process(settings))
    if not settings.temporal_address:
        embedded.append(temporal.process(settings, say))
    return embedded


def start_together(
    supervisor: Supervisor,
    processes: Iterable[Process],
    done: Callable[[str, float], None] = lambda name, seconds: None,
) -> None:
    """Start them at once and wait for all; the first failure is raised when none is under way any more."""

    def start(process: Process) -> None:
        done(process.name, supervisor.start(process))

    with ThreadPoolExecutor(thread_name_prefix="start") as pool:
        for started in [pool.submit(start, process) for process in processes]:
            started.result()
