"""Scripted outcomes of matching calls: in order, once, N times or for ever."""

from collections.abc import Mapping
from typing import Any

from sandbox.calls import is_under
from sandbox.exchange import Call, ScriptedOutcome
from sandbox.store import Row, Store

BENDS = {"decline", "refund_status"}  # they change the effect; the others change the transport
JOURNEYS = {
    "timeout_before",
    "timeout_after",
    "status_before",
    "status_after",
    "delay",
    "reset_connection_before",
    "reset_connection_after",
}
_MATCH_KEYS = {"path", "method", "metadata", "to"}
_OUTCOME_KEYS = {"kind", "code", "status", "ms", "repeat", "forever"}


class BadScript(ValueError):
    """An invalid script; the message says which part."""


class Scripts:
    """Scripts in the order in which they were added; the first that matches a call decides its outcome."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows = store.table("scripts")

    def add(self, service: str, match: Any, outcomes: Any, rounds: int | None) -> str:
        """Add a script and return its id. `rounds` None means for ever. Raises BadScript."""
        number = self._store.get("settings", "scripts") or {"n": 0}
        row: Row = {
            "id": f"script_{number['n'] + 1}",
            "service": service,
            "match": _read_match(match),
            "outcomes": _read_outcomes(service, outcomes),
            "rounds": rounds,
            "at": 0,
            "used": 0,
        }
        number["n"] += 1
        self._store.put("settings", "scripts", number)
        self._store.put("scripts", row["id"], row)
        return str(row["id"])

    def pending(self) -> list[Row]:
        """All scripts with outcomes left."""
        return list(self._rows.values())

    def forget(self, service: str | None) -> None:
        """Drop the scripts of one service, or all."""
        for key, row in list(self._rows.items()):
            if service in (None, row["service"]):
                self._store.drop("scripts", key)

    def take(self, call: Call, will_replay: bool) -> ScriptedOutcome | None:
        """Takes the outcome of this call, if a script has one; it is used up.

        An outcome that bends the effect waits for a call that has such an effect: a decline is not used up by a
        look-up, nor by a call whose saved response will be replayed.
        """
        for row in self._rows.values():
            step = row["outcomes"][row["at"]]
            kind = step["outcome"]["kind"]
            if kind in BENDS and (will_replay or kind not in call.bends):
                continue
            if row["service"] == call.service and _matches(row["match"], call):
                self._advance(row, step["times"])
                return ScriptedOutcome(**step["outcome"])
        return None

    def _advance(self, row: Row, times: int | None) -> None:
        row["used"] += 1
        if times is not None and row["used"] >= times:
            row["used"] = 0
            row["at"] += 1
        if row["at"] == len(row["outcomes"]):
            row["at"] = 0
            row["rounds"] = None if row["rounds"] is None else row["rounds"] - 1
        if row["rounds"] == 0:
            self._store.drop("scripts", row["id"])
        else:
            self._store.put("scripts", row["id"], row)


def read_repeat(source: Mapping[str, Any]) -> int | None:
    """How often: `repeat: N`, `repeat: "forever"` or `forever: true`; None is for ever. Raises BadScript."""
    repeat = source.get("repeat", 1)
    if repeat == "forever" or source.get("forever") is True:
        return None
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 1:
        raise BadScript('repeat must be a positive number or "forever"')
    return repeat


def _read_match(match: Any) -> Row:
    if not isinstance(match, dict) or not set(match) <= _MATCH_KEYS:
        raise BadScript(f"match must be an object with some of {sorted(_MATCH_KEYS)}")
    if not isinstance(match.get("metadata", {}), dict):
        raise BadScript("match.metadata must be an object")
    return match


def _read_outcomes(service: str, outcomes: Any) -> list[Row]:
    if not isinstance(outcomes, list) or not outcomes:
        raise BadScript("outcomes must be a non-empty array")
    return [_read_outcome(service, outcome) for outcome in outcomes]


def _read_outcome(service: str, raw: Any) -> Row:
    if not isinstance(raw, dict) or not set(raw) <= _OUTCOME_KEYS:
        raise BadScript(f"an outcome must be an object with some of {sorted(_OUTCOME_KEYS)}")
    kind = raw.get("kind")
    if kind not in JOURNEYS and not (kind in BENDS and service in ("stripe", "paypal")):
        raise BadScript(f"unknown outcome kind {kind!r} for {service}")
    # `refund_status` takes a name where the others take a number.
    word = raw.get("code", raw.get("status") if kind == "refund_status" else None)
    if kind in BENDS and not isinstance(word, str):
        raise BadScript(f"{kind} needs a code")
    if kind == "refund_status" and word not in ("pending", "requires_action", "failed", "succeeded"):
        raise BadScript(f"unknown refund status {word!r}")
    status = raw.get("status", 500) if kind in ("status_before", "status_after") else 500
    if not isinstance(status, int) or not 400 <= status <= 599:
        raise BadScript("status must be from 400 to 599")
    ms = raw.get("ms")
    if (ms is not None or kind == "delay") and (not isinstance(ms, int) or ms < 0):
        raise BadScript("ms must be a number of milliseconds")
    return {"outcome": {"kind": kind, "code": word, "status": status, "ms": ms}, "times": read_repeat(raw)}


def _matches(match: Row, call: Call) -> bool:
    if "path" in match and not is_under(call.request.path, str(match["path"])):
        return False
    if "method" in match and call.request.method != str(match["method"]).upper():
        return False
    if "to" in match and str(match["to"]) not in call.recipients:
        return False
    return all(_carries(call, key, str(value)) for key, value in match.get("metadata", {}).items())


def _carries(call: Call, key: str, value: str) -> bool:
    return call.metadata.get(key) == value or (key == "to" and value in call.recipients)
