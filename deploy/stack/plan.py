"""The processes of a whole stack, one entry each."""

import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable

from pydantic import SecretStr

from deploy.stack.ports import Port
from deploy.stack.process import Process
from runtime.settings import Settings
from workflows import queues

HOLDFAST = (sys.executable, "-m", "deploy.cli")
MIGRATE_AND_SEED = (*HOLDFAST, "migrate", "--seed")  # one process: half of the time of each is starting Python


def outside_world(settings: Settings) -> list[Process]:
    """The sandbox, unless every provider is a real one."""
    bases = (
        settings.stripe_base,
        settings.paypal_base if settings.paypal_client_id else "",
        settings.sendgrid_base,
        settings.carrier_base,
        settings.google_base,
        settings.facebook_base,
    )
    if not any(base.startswith(settings.sandbox_url) for base in bases):
        return []
    state = settings.data_dir.resolve() / "sandbox.db"
    return [
        _ours(
            settings,
            "sandbox",
            "sandbox",
            "--state",
            str(state),
            ready=lambda: read(f"{settings.sandbox_url}/_sandbox/calls") is not None,
            listens=Port(settings.sandbox_port, "HOLDFAST_SANDBOX_PORT"),
        )
    ]


def holdfast(settings: Settings) -> list[Process]:
    """The workers and the API. One process serves all queues: a second one costs seconds on a small machine."""
    metrics = settings.worker_metrics_port
    return [
        _ours(
            settings,
            "workers",
            "worker",
            ready=lambda: _polls(metrics, queues.ALL),
            listens=Port(metrics, "HOLDFAST_WORKER_METRICS_PORT"),
        ),
        _ours(
            settings,
            "api",
            "api",
            ready=lambda: read(f"{settings.api_url}/health/ready") is not None,
            listens=Port(settings.api_port, "HOLDFAST_API_PORT"),
        ),
    ]


def _polls(metrics: int, served: Iterable[str]) -> bool:
    """Whether the worker's SDK metrics count pollers of each queue."""
    figures = (read(f"http://127.0.0.1:{metrics}/metrics") or "").splitlines()
    pollers = [line for line in figures if line.startswith("temporal_num_pollers")]
    return all(any(f'"{queue}"' in line for line in pollers) for queue in served)


def environment(settings: Settings) -> dict[str, str]:
    """The environment's name, and the settings that differ from the defaults, as variables of child processes."""
    found = {"HOLDFAST_ENV": settings.env.value}
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


def read(url: str) -> str | None:
    """The body of a 200; None for anything else, or no answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  our own address
            return str(answer.read().decode()) if answer.status == 200 else None
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return None
