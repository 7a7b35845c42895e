"""What a whole stack consists of: one line a process, so that adding one is adding a line."""

import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Callable

from pydantic import SecretStr

from deploy.stack.ports import Port, accepts
from deploy.stack.process import Process
from models.settings import Settings

HOLDFAST = (sys.executable, "-m", "deploy.cli")
MIGRATE = (*HOLDFAST, "migrate")
SEED = (*HOLDFAST, "seed")


def outside_world(settings: Settings) -> list[Process]:
    """The sandbox, unless real providers are configured for everything."""
    if settings.sandbox_url not in (settings.stripe_base, settings.sendgrid_base):
        return []
    state = settings.data_dir.resolve() / "sandbox.db"
    return [
        _ours(
            settings,
            "sandbox",
            "sandbox",
            "--state",
            str(state),
            ready=_answers(f"{settings.sandbox_url}/_sandbox/calls"),
            listens=Port(settings.sandbox_port, "HOLDFAST_SANDBOX_PORT"),
        )
    ]


def holdfast(settings: Settings) -> list[Process]:
    """The API and the workers, in the order in which they start; stopped the other way round."""
    metrics = settings.worker_metrics_port
    return [
        _ours(
            settings,
            "workers",
            "worker",
            ready=lambda: accepts(metrics),
            listens=Port(metrics, "HOLDFAST_WORKER_METRICS_PORT"),
        ),
        _ours(
            settings,
            "api",
            "api",
            ready=_answers(f"{settings.api_url}/health/ready"),
            listens=Port(settings.api_port, "HOLDFAST_API_PORT"),
        ),
    ]


def environment(settings: Settings) -> dict[str, str]:
    """The settings that differ from the defaults, as a child process reads them."""
    found = {}
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if name == "data_dir":
            value = value.resolve()
        if value != field.default:
            plain = value.get_secret_value() if isinstance(value, SecretStr) else value
            found[f"HOLDFAST_{name.upper()}"] = str(plain)
    return found


def _ours(settings: Settings, name: str, *arguments: str, ready: Callable[[], bool], listens: Port) -> Process:
    return Process(
        name=name,
        command=(*HOLDFAST, *arguments),
        ready=ready,
        environment=environment(settings),
        listens=(listens,),
        grace=15,
    )


def _answers(url: str) -> Callable[[], bool]:
    def asked() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  our own address
                return bool(answer.status == 200)
        except (urllib.error.URLError, http.client.HTTPException, OSError):
            return False

    return asked
