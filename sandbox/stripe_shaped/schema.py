"""Readers of request parameters: each converts a decoded form value to a typed one, or raises BadParameter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.stripe_shaped.errors import BadParameter

Reader = Callable[[Any, str], Any]  # (raw value, its name for the error) -> typed value
Fields = Mapping[str, Reader]


@dataclass(frozen=True)
class Schema:
    """The parameters of one endpoint."""

    fields: Fields = field(default_factory=dict)
    required: tuple[str, ...] = ()

    def read(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Typed parameters. Raises BadParameter with `parameter_unknown`, `parameter_missing` and others."""
        values = _read_fields({**self.fields, "expand": strings}, raw, "")
        for name in self.required:
            if values.get(name) in (None, ""):
                raise BadParameter(f"Missing required param: {name}.", "parameter_missing", name)
        return values

    def glimpse(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The readable parameters, for the log; others stay as they came. Never raises."""
        seen: dict[str, Any] = {}
        for name, value in raw.items():
            try:
                seen[name] = {**self.fields, "expand": strings}[name](value, name)
            except (KeyError, BadParameter):
                seen[name] = value
        return seen


def _read_fields(fields: Fields, raw: Mapping[str, Any], parent: str) -> dict[str, Any]:
    values = {}
    for name, value in raw.items():
        full = f"{parent}[{name}]" if parent else name
        if name not in fields:
            raise BadParameter(f"Received unknown parameter: {full}", "parameter_unknown", full)
        values[name] = fields[name](value, full)
    return values


def text(raw: Any, name: str) -> str:
    """A string of at most 5,000 characters; "" asks to unset."""
    if not isinstance(raw, str):
        raise BadParameter(f"Invalid string: {name}", param=name)
    if len(raw) > 5000:
        raise BadParameter(f"Invalid string: {name} is too long", "parameter_invalid_string_blank", name)
    return raw


def integer(raw: Any, name: str) -> int:
    """A whole number."""
    try:
        return int(raw)
    except (TypeError, ValueError):
        raise BadParameter(f"Invalid integer: {raw}", "parameter_invalid_integer", name) from None


def positive(raw: Any, name: str) -> int:
    """A whole number of minor units above zero."""
    value = integer(raw, name)
    if value <= 0:
        message = "This value must be greater than or equal to 1."
        raise BadParameter(message, "parameter_invalid_integer", name)
    return value


def boolean(raw: Any, name: str) -> bool:
    """`true` or `false`."""
    if raw not in ("true", "false"):
        raise BadParameter(f"Invalid boolean: {raw}", param=name)
    return bool(raw == "true")


def boolean_or(*words: str) -> Reader:
    """`true`, `false`, or one of these words."""

    def read(raw: Any, name: str) -> bool | str:
        return raw if raw in words else boolean(raw, name)

    return read


def choice(*words: str) -> Reader:
    """One of these words."""

    def read(raw: Any, name: str) -> str:
        if raw not in words:
            raise BadParameter(f"Invalid {name}: must be one of {', '.join(words)}", param=name)
        return str(raw)

    return read


def strings(raw: Any, name: str) -> list[str]:
    """An array of strings, `name[]=…` or `name[0]=…`; "" empties it."""
    if raw == "":
        return []
    if isinstance(raw, dict) and all(key.isdigit() for key in raw):
        raw = list(raw.values())
    if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
        raise BadParameter("Invalid array", "parameter_invalid_empty", name)
    return raw


def metadata(raw: Any, name: str) -> dict[str, str]:
    """At most 50 strings, keys to 40 and values to 500 characters; "" unsets (docs.stripe.com/api/metadata)."""
    if raw == "":
        return {}
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise BadParameter("Invalid object", "parameter_invalid_empty", name)
    if len(raw) > 50 or any(len(key) > 40 or len(value) > 500 for key, value in raw.items()):
        raise BadParameter("Metadata is limited to 50 keys of 40 and values of 500 characters", param=name)
    return raw


def group(**fields: Reader) -> Reader:
    """A nested object with these fields and no others."""

    def read(raw: Any, name: str) -> dict[str, Any]:
        if raw == "":
            return {}
        if not isinstance(raw, dict):
            raise BadParameter("Invalid object", param=name)
        return _read_fields(fields, raw, name)

    return read


def anything(raw: Any, name: str) -> Any:
    """Any value: documented, and without effect here."""
    return raw


def moment(raw: Any, name: str) -> dict[str, int]:
    """A time filter: seconds, or `gt`, `gte`, `lt`, `lte` of seconds."""
    if not isinstance(raw, dict):
        at = integer(raw, name)
        return {"gte": at, "lte": at}
    bounds = _read_fields({"gt": integer, "gte": integer, "lt": integer, "lte": integer}, raw, name)
    return dict(bounds)


def page_size(raw: Any, name: str) -> int:
    """From 1 to 100."""
    value = integer(raw, name)
    if not 1 <= value <= 100:
        raise BadParameter("limit must be from 1 to 100", "parameter_invalid_integer", name)
    return value
