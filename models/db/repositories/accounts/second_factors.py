"""Second factors: a sealed secret, active after its confirmation; each code and recovery code is valid once.

The WHERE of one UPDATE decides races: of two requests with one code, one finds it used.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from models.accounts.accounts import SecondFactor

_SECRET = text("SELECT totp_secret, totp_confirmed_at IS NOT NULL AS confirmed FROM users WHERE id = :id")

_USE_STEP = text("""
UPDATE users SET totp_last_step = :step
WHERE id = :id AND totp_secret = :secret AND totp_last_step < :step
""")

_USE_RECOVERY_CODE = text("""
UPDATE users SET recovery_digests = array_remove(recovery_digests, :digest)
WHERE id = :id AND totp_confirmed_at IS NOT NULL AND :digest = ANY(recovery_digests)
""")

_PROPOSE = text("""
UPDATE users SET totp_secret = :secret, totp_last_step = 0, version = version + 1
WHERE id = :id AND totp_confirmed_at IS NULL
""")

_CONFIRM = text("""
UPDATE users SET totp_confirmed_at = now(), recovery_digests = :digests, version = version + 1
WHERE id = :id AND totp_confirmed_at IS NULL
""")

_REMOVE = text("""
UPDATE users SET totp_secret = NULL, totp_confirmed_at = NULL, totp_last_step = 0, recovery_digests = '{}',
    version = version + 1
WHERE id = :id
""")

_LIFT = text("""
UPDATE sessions SET second_factor = :passed WHERE id = :id AND user_id = :user_id AND ended_at IS NULL
""")

_LOWER = text("UPDATE sessions SET second_factor = :status WHERE user_id = :id AND ended_at IS NULL")


def read_secret(connection: Connection, user_id: str) -> tuple[bytes, bool] | None:
    """The sealed secret and whether it is confirmed; None without one."""
    row = connection.execute(_SECRET, {"id": user_id}).first()
    return (bytes(row.totp_secret), row.confirmed) if row and row.totp_secret is not None else None


def use_step(connection: Connection, user_id: str, secret: bytes, step: int) -> bool:
    """Uses a code's time step. False if this or a later step was used before, or `secret` was replaced."""
    return connection.execute(_USE_STEP, {"id": user_id, "secret": secret, "step": step}).rowcount == 1


def use_recovery_code(connection: Connection, user_id: str, digest: bytes) -> bool:
    """Uses a recovery code. False if it is unknown or was used before."""
    return connection.execute(_USE_RECOVERY_CODE, {"id": user_id, "digest": digest}).rowcount == 1


def propose(connection: Connection, user_id: str, secret: bytes) -> bool:
    """Stores an unconfirmed secret. False if a confirmed one exists."""
    return connection.execute(_PROPOSE, {"id": user_id, "secret": secret}).rowcount == 1


def confirm(connection: Connection, user_id: str, recovery_digests: list[bytes]) -> bool:
    """Confirms the proposed secret. False if it is confirmed already."""
    return connection.execute(_CONFIRM, {"id": user_id, "digests": recovery_digests}).rowcount == 1


def remove(connection: Connection, user_id: str, *, to_be_replaced: bool) -> None:
    """Deletes the second factor. `to_be_replaced`: live sessions have no scopes until another one is enrolled."""
    connection.execute(_REMOVE, {"id": user_id})
    status = SecondFactor.PENDING if to_be_replaced else SecondFactor.NONE
    connection.execute(_LOWER, {"id": user_id, "status": status})


def lift(connection: Connection, user_id: str, session_id: str) -> None:
    """Marks the session's second factor as passed: it has its role's scopes from now on."""
    connection.execute(_LIFT, {"id": session_id, "user_id": user_id, "passed": SecondFactor.PASSED})
