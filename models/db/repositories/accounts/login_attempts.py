"""Limits password attempts. An attempt is counted before it is checked, so concurrent attempts can't exceed the limit.

One row counts an account's failures from one range of addresses, another (`*`) its failures in a row from everywhere.
Each statement locks one row, and is the same for existing and unknown accounts.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, text

from models.accounts.accounts import email_key

EVERYWHERE = "*"
LONGEST_WAIT_SECONDS = 900
MEMORY_SECONDS = 86_400  # after a day without a failure the count restarts

# Seconds to wait after `failures`: 0 for the free ones, then 1, 2, 4 …
_WAIT = """
make_interval(secs => CASE WHEN failures <= :free THEN 0
    ELSE least(:longest, power(2, least(failures - :free - 1, 30))) END)
"""

_COUNT_HERE = text(f"""
INSERT INTO login_failures AS known (account_key, address_range, failures, last_at)
VALUES (:account, :range, 1, clock_timestamp())
ON CONFLICT (account_key, address_range) DO UPDATE SET
    failures = CASE WHEN known.last_at < clock_timestamp() - make_interval(secs => :memory) THEN 1
        ELSE known.failures + 1 END,
    last_at = clock_timestamp()
WHERE known.last_at + {_WAIT.replace("failures", "known.failures")} <= clock_timestamp()
RETURNING failures
""")  # noqa: S608  constants

_LEFT = text(f"""
SELECT ceil(extract(epoch FROM last_at + {_WAIT} - clock_timestamp()))
FROM login_failures WHERE account_key = :account AND address_range = :range
""")  # noqa: S608

_COUNT_EVERYWHERE = text("""
INSERT INTO login_failures AS known (account_key, address_range, failures, last_at)
VALUES (:account, :range, 1, clock_timestamp())
ON CONFLICT (account_key, address_range) DO UPDATE SET
    failures = CASE WHEN known.last_at < clock_timestamp() - make_interval(secs => :memory) THEN 1
        ELSE known.failures + 1 END,
    last_at = clock_timestamp()
RETURNING failures
""")

# Sets `last_at` back, so that the wait before this attempt is not repeated.
_GIVE_BACK = text("""
UPDATE login_failures
SET failures = failures - 1, last_at = clock_timestamp() - make_interval(secs => :longest)
WHERE account_key = :account AND address_range = :range AND failures > 0
""")

_FORGET = text("DELETE FROM login_failures WHERE account_key = :account AND address_range = :range")

_FORGET_OLD = text("""
DELETE FROM login_failures
WHERE (account_key, address_range) IN (
    SELECT account_key, address_range FROM login_failures
    WHERE last_at < clock_timestamp() - make_interval(secs => :memory)
    ORDER BY last_at LIMIT :limit FOR UPDATE SKIP LOCKED)
""")

_REQUIRE_RESET = text("""
UPDATE users SET must_reset = true, version = version + 1
WHERE email_key = :key AND NOT must_reset AND verified_at IS NOT NULL AND disabled_at IS NULL
RETURNING id
""")


class Guesser(NamedTuple):
    """The attempted account (`models.accounts.accounts.account_key`) and the client's range of addresses."""

    account: bytes
    range: str


class Refused(NamedTuple):
    """The attempt was refused; `seconds` until the next one is allowed."""

    seconds: int


def count(connection: Connection, guesser: Guesser, *, free: int) -> int | Refused:
    """Counts an attempt as a failure. Returns the failures in a row from everywhere, including this one.

    Use an autocommit connection: a lock held during the password hash would queue other attempts.
    """
    values = {**guesser._asdict(), "free": free, "longest": LONGEST_WAIT_SECONDS, "memory": MEMORY_SECONDS}
    if connection.execute(_COUNT_HERE, values).scalar() is None:
        return Refused(max(1, int(connection.execute(_LEFT, values).scalar() or 0)))
    everywhere = {"account": guesser.account, "range": EVERYWHERE, "memory": MEMORY_SECONDS}
    return int(connection.execute(_COUNT_EVERYWHERE, everywhere).scalar_one())


def give_back(connection: Connection, guesser: Guesser) -> None:
    """Uncounts an attempt that did not fail; earlier failures stay."""
    for where in (guesser.range, EVERYWHERE):
        connection.execute(_GIVE_BACK, {"account": guesser.account, "range": where, "longest": LONGEST_WAIT_SECONDS})


def forget(connection: Connection, guesser: Guesser) -> None:
    """Deletes the counts of this range and of all ranges, after a successful sign-in."""
    for where in (guesser.range, EVERYWHERE):
        connection.execute(_FORGET, {"account": guesser.account, "range": where})


def forget_old(connection: Connection, limit: int = 1000) -> int:
    """Deletes at most `limit` outdated rows; returns their number."""
    return connection.execute(_FORGET_OLD, {"memory": MEMORY_SECONDS, "limit": limit}).rowcount


def require_reset(connection: Connection, email: str) -> str | None:
    """Requires a password reset by mail. Returns the account's id if it exists and this is new."""
    return connection.execute(_REQUIRE_RESET, {"key": email_key(email)}).scalar()
