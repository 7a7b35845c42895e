"""The engines of one stack: embedded, except where the settings name an external server."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed

from deploy.errors import StackError
from deploy.stack import postgres, temporal, valkey
from deploy.stack.process import Process
from deploy.stack.supervisor import Supervisor
from runtime.settings import Settings


def engines(settings: Settings) -> list[Process]:
    """The engines to start here."""
    embedded = []
    if not settings.database_url:
        embedded.append(postgres.process(settings))
    if not settings.redis_url:
        embedded.append(valkey.process(settings))
    if not settings.temporal_address:
        embedded.append(temporal.process(settings))
    return embedded


def start_together(
    supervisor: Supervisor,
    processes: Iterable[Process],
    done: Callable[[str, float], None] = lambda name, seconds: None,
) -> None:
    """Starts them concurrently and waits for all; the first failure abandons the rest."""

    def start(process: Process) -> None:
        done(process.name, supervisor.start(process))

    with ThreadPoolExecutor(thread_name_prefix="start") as pool:
        try:
            for started in as_completed([pool.submit(start, process) for process in processes]):
                started.result()
        except BaseException:
            supervisor.abandon()
            raise


def check_own_servers(settings: Settings) -> None:
    """Checks that each external server answers. Raises StackError that names its setting."""
    for name, configured, answers in (
        ("DATABASE_URL", settings.database_url, postgres.accepts_us),
        ("REDIS_URL", settings.redis_url, valkey.answers),
        ("TEMPORAL_ADDRESS", settings.temporal_address, temporal.serves),
    ):
        if configured and not answers(settings):
            raise StackError(
                f"the server of HOLDFAST_{name} does not answer", "start it, correct the setting or unset it"
            )
