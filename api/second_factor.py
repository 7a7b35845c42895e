"""Verifies second factors: TOTP codes (RFC 6238) and recovery codes. Each code is accepted once."""

from __future__ import annotations

import hmac
import secrets
import time
from typing import TYPE_CHECKING

import pyotp
import structlog

from activities.gateways.secrets import token_digest
from api.services import Services
from models.db.repositories.accounts import second_factors

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = structlog.get_logger()

STEP_SECONDS = 30
DRIFT_STEPS = 1  # a clock may be half a minute off, either way (RFC 6238, 5.2)
DIGITS = 6
RECOVERY_CODES = 10
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 characters without look-alikes: 5 bits each
_RECOVERY_LENGTH = 16


def check_code(shop: Services, connection: Connection, user_id: str, code: str) -> bool:
    """Verifies and uses up a code of the user's confirmed second factor.

    `code`: six digits, or a recovery code; blanks and dashes are ignored. Runs within the caller's transaction, which
    must commit for the code to stay used.
    """
    found = second_factors.read_secret(connection, user_id)
    return found is not None and found[1] and _use(shop, connection, user_id, found[0], code)


def check_proposed(shop: Services, connection: Connection, user_id: str, code: str) -> bool:
    """The same for the secret that is not confirmed yet; recovery codes are not accepted."""
    found = second_factors.read_secret(connection, user_id)
    if found is None or found[1]:
        return False
    return _use_totp(shop, connection, user_id, found[0], _plain(code))


def new_recovery_codes(shop: Services, user_id: str) -> tuple[list[str], list[bytes]]:
    """Ten recovery codes of 80 bits, `abcd-efgh-ijkm-npqr`, and their digests for the database."""
    plain = ["".join(secrets.choice(_ALPHABET) for _ in range(_RECOVERY_LENGTH)) for _ in range(RECOVERY_CODES)]
    shown = ["-".join(code[at : at + 4] for at in range(0, _RECOVERY_LENGTH, 4)) for code in plain]
    return shown, [_recovery_digest(shop, user_id, code) for code in plain]


def _use(shop: Services, connection: Connection, user_id: str, secret: bytes, code: str) -> bool:
    code = _plain(code)
    if len(code) == _RECOVERY_LENGTH:
        return second_factors.use_recovery_code(connection, user_id, _recovery_digest(shop, user_id, code))
    return _use_totp(shop, connection, user_id, secret, code)


def _use_totp(shop: Services, connection: Connection, user_id: str, secret: bytes, code: str) -> bool:
    if len(code) != DIGITS or not (code.isascii() and code.isdigit()):
        return False
    try:
        totp = pyotp.TOTP(shop.vault.open(secret), digits=DIGITS, interval=STEP_SECONDS)
    except ValueError:  # sealed before HOLDFAST_SECRET_KEY was changed: no code can be right
        log.error("second_factor_unreadable", user_id=user_id)
        return False
    now = int(time.time()) // STEP_SECONDS
    matching = [
        step
        for step in range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1)
        if hmac.compare_digest(totp.at(step * STEP_SECONDS), code)
    ]
    return any(second_factors.use_step(connection, user_id, secret, step) for step in matching)


def _plain(code: str) -> str:
    return "".join(code.split()).replace("-", "").lower()


def _recovery_digest(shop: Services, user_id: str, code: str) -> bytes:
    """Keyed with the installation's secret, so that a copy of the database does not allow guessing."""
    return token_digest(shop.vault.token("recovery-code", user_id, code))
