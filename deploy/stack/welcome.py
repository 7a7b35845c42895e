"""The message when the stack is up: addresses, accounts to sign in with, what to try."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from deploy.demo.order import DemoOrder
from deploy.demo.people import EMAILS
from runtime.settings import Settings


def addresses(settings: Settings) -> dict[str, str]:
    """Addresses by name, without the passwords of external servers."""
    found = {
        "API": settings.api_url,
        "API docs": f"{settings.api_url}/docs",
        "Sandbox inbox": settings.sandbox_url,
        "Temporal": settings.temporal,
        "PostgreSQL": settings.libpq_url,
        "Valkey": settings.redis,
        "Metrics": f"http://127.0.0.1:{settings.worker_metrics_port}/metrics",
    }
    if not settings.temporal_address:
        found["Temporal UI"] = f"http://127.0.0.1:{settings.temporal_ui_port}"
    if settings.database_url:
        found["PostgreSQL"] = "HOLDFAST_DATABASE_URL"
    if settings.redis_url:
        found["Valkey"] = "HOLDFAST_REDIS_URL"
    return found


def welcome(settings: Settings, order: DemoOrder, seconds: float) -> Group:
    return Group(
        Text(f"\nHoldfast is up after {seconds:.1f} s. {order.summary}\n"),
        _table(addresses(settings)),
        Text("\nTry:", style="bold"),
        *(Text(f"  {line}") for line in _to_try(settings, order)),
        Text(f"\nSign in (POST /v1/auth/login) with the password {settings.demo_password.get_secret_value()} as:"),
        _table({f"  {role}": email for role, email in EMAILS.items()}),
        Text("\nOr act as staff with a token: .venv/bin/holdfast token --role admin (or support, …)"),
        Text("\nLogs follow; Ctrl-C stops everything.\n"),
    )


def _to_try(settings: Settings, order: DemoOrder) -> list[str]:
    return [
        f"curl -s '{settings.api_url}/v1/products?limit=3'",
        f"curl -s -X POST {settings.api_url}/v1/carts -H 'Content-Type: application/json' -d '{{}}'",
        f"curl -s {settings.api_url}/v1/orders/{order.order_id} -H 'X-Cart-Token: {order.cart_token}'",
    ]


def _table(rows: dict[str, str]) -> Table:
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_column(style="bold")
    table.add_column(style="cyan", overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    return table
