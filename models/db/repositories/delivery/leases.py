"""Leases: exclusive work of one process for a limited time."""

from __future__ import annotations

from sqlalchemy import Connection, text

_TAKE = text("""
INSERT INTO leases AS l (name, holder, until) VALUES (:name, :holder, now() + make_interval(secs => :seconds))
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE l.holder = excluded.holder OR l.until < now()
RETURNING name
""")


def take(connection: Connection, name: str, holder: str, seconds: float) -> bool:
    """Takes or renews a lease, by the database's clock. False while another holder has it."""
    return connection.execute(_TAKE, {"name": name, "holder": holder, "seconds": seconds}).first() is not None
