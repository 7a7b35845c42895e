"""Lists and searches: pages, filters and Stripe's small query language."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from sandbox.store import Row
from sandbox.stripe_shaped.account import KINDS, Account
from sandbox.stripe_shaped.errors import BadParameter
from sandbox.stripe_shaped.shapes import render

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "gt": int.__gt__,
    "gte": int.__ge__,
    "lt": int.__lt__,
    "lte": int.__le__,
}
_CLAUSE = re.compile(
    r"""\s*(?P<negated>-)?(?P<field>[a-z_.]+)(\[(?P<kq>["'])(?P<key>(?:\\.|(?!(?P=kq)).)*)(?P=kq)\])?"""
    r"""\s*(?P<op>:|~|>=|<=|>|<)\s*(?:(?P<q>["'])(?P<text>(?:\\.|(?!(?P=q)).)*)(?P=q)|(?P<bare>[\w.]+))\s*"""
)


def page(rows: Iterable[Row], params: Row, url: str) -> Row:
    """One page of rows that come newest first, by `created`, `starting_after`, `ending_before`, `limit`."""
    limit = params.get("limit", 10)
    kept: Iterator[Row] = (row for row in rows if _within(row["created"], params.get("created", {})))
    if "ending_before" in params:
        before = list(_until(kept, params["ending_before"]))
        found = before[-limit - 1 :]
        has_more = len(found) > limit
        found = found[-limit:]
    else:
        if "starting_after" in params:
            kept = _after(kept, params["starting_after"])
        found = list(islice(kept, limit + 1))
        has_more = len(found) > limit
        found = found[:limit]
    return {"object": "list", "data": [render(row) for row in found], "has_more": has_more, "url": url}


def _within(created: int, bounds: dict[str, int]) -> bool:
    return all(_COMPARE[name](created, value) for name, value in bounds.items())


def _until(rows: Iterable[Row], object_id: str) -> Iterator[Row]:
    for row in rows:
        if row["id"] == object_id:
            return
        yield row
    raise BadParameter(f"No such object: '{object_id}'", "resource_missing", "ending_before")


def _after(rows: Iterable[Row], object_id: str) -> Iterator[Row]:
    rows = iter(rows)
    for row in rows:
        if row["id"] == object_id:
            return rows
    raise BadParameter(f"No such object: '{object_id}'", "resource_missing", "starting_after")


def search(account: Account, kind: str, params: Row) -> Row:
    """Answer `GET /v1/{kind}s/search`: clauses joined by AND or by OR. Raises BadParameter.

    Stripe's search lags its writes by up to a minute; `POST /_sandbox/stripe/search` sets such a lag.
    """
    clauses, any_of = _parse(params["query"])
    visible_until = account.clock.now() - search_lag(account)
    found = [
        row
        for row in _candidates(account, kind, clauses, any_of)
        if row["created"] <= visible_until and (any if any_of else all)(_holds(row, clause) for clause in clauses)
    ]
    limit = params.get("limit", 10)
    start = int(params["page"]) if params.get("page", "").isdigit() else 0
    more = len(found) > start + limit
    return {
        "object": "search_result",
        "data": [render(row) for row in found[start : start + limit]],
        "has_more": more,
        "next_page": str(start + limit) if more else None,
        "url": f"/v1/{kind}s/search",
    }


def search_lag(account: Account) -> float:
    """Seconds by which search trails behind."""
    row = account.store.get("settings", "search")
    return float(row["lag_ms"]) / 1000 if row else 0.0


def _parse(query: str) -> tuple[list[dict[str, Any]], bool]:
    clauses, joints, at = [], set(), 0
    while True:
        match = _CLAUSE.match(query, at)
        if match is None:
            raise BadParameter(f"We were unable to parse your search query: {query}", param="query")
        clauses.append(match.groupdict())
        at = match.end()
        joint = re.compile(r"(AND|OR)\s|$").match(query, at)
        if joint is None:
            raise BadParameter(f"We were unable to parse your search query: {query}", param="query")
        if not joint.group(1):
            break
        joints.add(joint.group(1))
        at = joint.end()
    if len(joints) > 1:
        raise BadParameter("A query can't combine AND and OR.", param="query")
    return clauses, joints == {"OR"}


def _candidates(account: Account, kind: str, clauses: list[dict[str, Any]], any_of: bool) -> Iterable[Row]:
    if kind == "payment_intent" and not any_of:
        for clause in clauses:
            exact = clause["field"] == "metadata" and clause["op"] == ":" and clause["bare"] != "null"
            if exact and not clause["negated"]:
                return account.intents_with(clause["key"] or "", _wanted(clause))
    return account.newest(kind)


def _wanted(clause: dict[str, Any]) -> str:
    quoted = clause["text"]
    return str(clause["bare"]) if quoted is None else re.sub(r"\\(.)", r"\1", quoted)


def _holds(row: Row, clause: dict[str, Any]) -> bool:
    field, op, wanted = clause["field"], clause["op"], _wanted(clause)
    actual = row["metadata"].get(clause["key"]) if field == "metadata" else row.get(field)
    if clause["bare"] == "null":
        held = actual is None
    elif op in (":", "~"):
        text = "" if actual is None else str(actual)
        held = text == wanted if op == ":" else wanted.lower() in text.lower()
    else:
        name = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}[op]
        held = isinstance(actual, int) and wanted.isdigit() and _COMPARE[name](actual, int(wanted))
    return held != bool(clause["negated"])


def expand(account: Account, answer: Row, paths: list[str]) -> Row:
    """Replace ids by their objects along `expand` paths such as `data.latest_charge.balance_transaction`."""
    for path in paths:
        answer = _expand(account, answer, path.split("."), path)
    return answer


def _expand(account: Account, value: Any, steps: list[str], path: str) -> Any:
    if isinstance(value, list):
        return [_expand(account, item, steps, path) for item in value]
    if isinstance(value, str):
        row = account.find(KINDS.get(value.split("_", 1)[0], ""), value)
        value = render(row) if row else value
    if not steps or not isinstance(value, dict):
        return value
    if steps[0] not in value:
        raise BadParameter(f"This property cannot be expanded ({path}).", param="expand")
    return {**value, steps[0]: _expand(account, value[steps[0]], steps[1:], path)}
