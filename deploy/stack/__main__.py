"""`python -m deploy.stack` runs the engines alone, until Ctrl-C; for working on one part of Holdfast."""

import signal
import sys
import threading

from deploy.errors import StackError
from deploy.stack.engines import engines, start_together
from deploy.stack.ports import check_free
from deploy.stack.supervisor import Supervisor
from runtime.settings import Settings


def main() -> None:
    settings = Settings()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    supervisor = Supervisor(settings.data_dir.resolve() / "logs")
    try:
        wanted = engines(settings)
        check_free(port for process in wanted for port in process.listens)
        start_together(supervisor, wanted, lambda name, seconds: print(f"{name} is ready ({seconds:.1f} s)"))
        print(f"database {settings.database}\nredis    {settings.redis}\ntemporal {settings.temporal}")
        print(f"UI       http://127.0.0.1:{settings.temporal_ui_port}\nCtrl-C stops them.", flush=True)
        stop.wait()
    except StackError as error:
        sys.exit(f"error: {error}")
    finally:
        supervisor.close()


if __name__ == "__main__":
    main()
