"""Replays recorded histories against the present workflow code, to find non-deterministic changes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from google.protobuf.json_format import ParseError
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from workflows.checkout import Checkout
from workflows.cleanup import CheckoutCleanup
from workflows.email_verification import EmailVerification
from workflows.failures import DATA_CONVERTER
from workflows.invitation import Invitation
from workflows.order import Order
from workflows.password_reset import PasswordReset
from workflows.payment_retry import PaymentRetry
from workflows.reconciliation import Reconciliation
from workflows.refund import Refund
from workflows.remove_payment_method import RemovePaymentMethod
from workflows.return_ import Return
from workflows.save_payment_method import SavePaymentMethod
from workflows.shipment import Shipment

WORKFLOWS: list[type] = [
    Checkout,
    CheckoutCleanup,
    Order,
    Refund,
    Return,
    Shipment,
    EmailVerification,
    PasswordReset,
    Invitation,
    SavePaymentMethod,
    RemovePaymentMethod,
    Reconciliation,
    PaymentRetry,
]


def replay(folder: Path) -> None:
    """Replays every `*.json` under the folder, as the recorder or `temporal workflow show -o json` write them.

    Exits with status 1 and names each file that can't be read or doesn't replay.
    """
    outcomes = replay_files(folder)
    broken = {path: why for path, why in outcomes.items() if why is not None}
    if not outcomes:
        sys.exit(f"error: there are no histories in {folder}")
    if broken:
        sys.exit("\n".join(f"error: {path}: {why}" for path, why in broken.items()))
    sys.stdout.write(f"{len(outcomes)} histories replay.\n")


def replay_files(folder: Path, workflows: list[type] | None = None) -> Mapping[Path, str | None]:
    """The first line of the error by history; None for a history that replays."""
    return asyncio.run(_replay(sorted(folder.rglob("*.json")), workflows or WORKFLOWS))


async def _replay(paths: list[Path], workflows: list[type]) -> Mapping[Path, str | None]:
    replayer = Replayer(workflows=workflows, data_converter=DATA_CONVERTER)
    return {path: await _fault(replayer, path) for path in paths}


async def _fault(replayer: Replayer, path: Path) -> str | None:
    try:
        history = WorkflowHistory.from_json(f"replay/{path.parent.name}/{path.stem}", path.read_text())
    except (ParseError, ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        return f"is not a history ({error})".splitlines()[0]
    if not history.events:
        return "is not a history (it has no events)"
    result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    if result.replay_failure is None:
        return None
    return (str(result.replay_failure).splitlines() or [type(result.replay_failure).__name__])[0]
