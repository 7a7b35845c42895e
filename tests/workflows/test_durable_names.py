"""Names that stand in histories, outbox rows or search attributes for ever are the ones of tests/histories/NAMES.txt.

A new name is added to the file; a name that has been released is never changed and never removed while a history or a
row may hold it. `python -m tests.workflows.test_durable_names` writes the file anew.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from pydantic import BaseModel
from temporalio import activity, workflow

from models.delivery.tasks import TASK_KINDS
from models.topics import TOPICS
from runtime.settings import Settings
from workers.registry import build
from workflows.search_attributes import SEARCH_ATTRIBUTES

NAMES = Path(__file__).parents[1] / "histories" / "NAMES.txt"


def names() -> list[str]:
    payloads: set[type] = set()
    lines: set[str] = set()
    for queue, work in build(Settings(), None).items():
        lines.add(f"queue {queue}")
        for flow in work.workflows:
            lines |= set(_of_workflow(flow, payloads))
        for step in work.activities:
            name = activity._Definition.must_from_callable(step).name
            lines.add(f"activity {name}{_signature(step, payloads)}")
    for payload in payloads:
        lines |= set(_members(payload))
    lines |= {f"search attribute {name}: {kind}" for name, kind in SEARCH_ATTRIBUTES.items()}
    lines |= set(_topics()) | set(_task_kinds())
    return sorted(lines)


def _of_workflow(flow: type, payloads: set[type]) -> Iterator[str]:
    definition = workflow._Definition.must_from_class(flow)
    yield f"workflow {definition.name}{_signature(definition.run_fn, payloads)}"
    for name, signal in definition.signals.items():
        yield f"signal {definition.name}.{name}{_signature(signal.fn, payloads)}"
    for name, update in definition.updates.items():
        yield f"update {definition.name}.{name}{_signature(update.fn, payloads)}"
    for name, query in definition.queries.items():
        yield f"query {definition.name}.{name}{_signature(query.fn, payloads)}"


def _signature(function: typing.Any, payloads: set[type]) -> str:
    """Positions and types: the names of arguments are not recorded."""
    hints = typing.get_type_hints(inspect.unwrap(getattr(function, "__func__", function)))
    result = hints.pop("return", type(None))
    parameters = [p for p in inspect.signature(function).parameters if p != "self"]
    taken = [hints[p] for p in parameters]
    for hint in (*taken, result):
        _collect(hint, payloads)
    return f"({', '.join(map(_shown, taken))}) -> {_shown(result)}"


def _collect(hint: typing.Any, payloads: set[type]) -> None:
    """The records and the enumerations that a type is made of, in any depth."""
    for inner in typing.get_args(hint):
        _collect(inner, payloads)
    if not isinstance(hint, type) or hint in payloads or isinstance(hint, types.GenericAlias):
        return
    if issubclass(hint, BaseModel):
        payloads.add(hint)
        for field in hint.model_fields.values():
            _collect(field.annotation, payloads)
    elif issubclass(hint, Enum):
        payloads.add(hint)


def _members(payload: type) -> Iterator[str]:
    if issubclass(payload, BaseModel):
        for name, field in payload.model_fields.items():
            yield f"field {payload.__name__}.{name}: {_shown(field.annotation)}"
    elif issubclass(payload, Enum):
        for member in payload:
            yield f"value {payload.__name__}: {member.value}"


def _shown(hint: typing.Any) -> str:
    """The type as it is written: `list[Line] | None`, without what only validates."""
    if hint is None or hint is type(None):
        return "None"
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _shown(inner[0])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(_shown, inner))
    if origin is typing.Literal:
        return f"Literal{list(inner)}"
    if inner:
        return f"{getattr(origin, '__name__', origin)}[{', '.join(map(_shown, inner))}]"
    return getattr(hint, "__name__", str(hint))


def _topics() -> Iterator[str]:
    for topic in TOPICS.values() if isinstance(TOPICS, dict) else TOPICS:
        yield f"topic {topic.name}"
        for name, field in topic.payload.model_fields.items():
            yield f"topic field {topic.name}.{name}: {_shown(field.annotation)}"


def _task_kinds() -> Iterator[str]:
    return (f"task kind {kind}" for kind in TASK_KINDS)


def test_no_durable_name_has_changed_unseen():
    known = NAMES.read_text().splitlines()
    now = names()
    missing, new = sorted(set(known) - set(now)), sorted(set(now) - set(known))
    assert not missing, f"recorded for ever, and gone or changed: {missing}"
    assert not new, f"not listed yet, run `python -m tests.workflows.test_durable_names`: {new}"


def test_no_class_name_is_used_twice_among_payloads():
    payloads: set[type] = set()
    for work in build(Settings(), None).values():
        for flow in work.workflows:
            list(_of_workflow(flow, payloads))
        for step in work.activities:
            _signature(step, payloads)
    found = [payload.__name__ for payload in payloads]
    assert sorted(found) == sorted(set(found))


if __name__ == "__main__":
    NAMES.write_text("\n".join(names()) + "\n")
