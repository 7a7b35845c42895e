"""Reads a CSV file into row models. Every unreadable cell is an error with its row and column; none is dropped.

UTF-8 with or without a byte order mark; comma, semicolon or tab, whichever the header uses. The header is row 1, as
in a spreadsheet. Cells are trimmed and normalised (NFC); an empty cell counts as absent, a blank row is skipped. A
column `group.name` belongs to a group (`price.USD`), and cells of a money group are parsed as prices.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from models.base import Record
from models.money import CURRENCIES, parse_major

MONEY_GROUPS = frozenset({"price", "free_over", "amount", "minimum"})
DELIMITERS = ",;\t"


class RowError(Record):
    """`row` counts from the header, which is 1; `column` is null for an error of the whole row."""

    row: int
    column: str | None = None
    detail: str


class TableRow(BaseModel):
    """Base of the row models: a field is a column, a mapping is a group of columns, cells are text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: int


Row = TypeVar("Row", bound=TableRow)


@dataclass(slots=True)
class Cells:
    """One unparsed record; empty cells are absent."""

    row: int
    by_column: Mapping[str, str]


@dataclass(slots=True)
class Rows(Generic[Row]):
    """The valid rows, the errors, and the records that have errors (they still belong to a group)."""

    good: list[Row] = field(default_factory=list)
    bad: list[Cells] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)


def read_rows(content: bytes, kind: type[Row]) -> Rows[Row]:
    """Parses `content` into rows of `kind`. A wrong header, invalid UTF-8 or broken quoting rejects the whole file."""
    rows = Rows[Row]()
    text = _decode(content, rows.errors)
    if text is None:
        return rows
    records = _records(text, rows.errors)
    if not records:
        return rows
    header = [cell.strip() for cell in records[0]]
    rows.errors.extend(_header_errors(header, kind))
    if rows.errors:
        return rows
    for number, record in enumerate(records[1:], start=2):
        if any(cell.strip() for cell in record):
            _read_row(number, header, record, kind, rows)
    return rows


def unique(rows: Sequence[Row], key: Callable[[Row], Hashable], column: str) -> Iterator[RowError]:
    """An error for every row whose key an earlier row has."""
    first: dict[Hashable, int] = {}
    for row in rows:
        above = first.setdefault(key(row), row.row)
        if above != row.row:
            yield RowError(row=row.row, column=column, detail=f"stands in row {above} already")


def whole_groups(rows: Rows[Row], column: str) -> list[list[Row]]:
    """Rows grouped by `column`, in order of appearance, without the groups that have an error in any row."""
    wrong = {error.row for error in rows.errors}
    spoilt = {cells.by_column.get(column) for cells in rows.bad}
    spoilt |= {getattr(row, column) for row in rows.good if row.row in wrong}
    groups: dict[str, list[Row]] = {}
    for row in rows.good:
        if getattr(row, column) not in spoilt:
            groups.setdefault(getattr(row, column), []).append(row)
    return list(groups.values())


def without_errors(rows: Rows[Row]) -> list[Row]:
    wrong = {error.row for error in rows.errors}
    return [row for row in rows.good if row.row not in wrong]


def in_order(errors: Sequence[RowError]) -> list[RowError]:
    return sorted(errors, key=lambda error: (error.row, error.column or ""))


def _decode(content: bytes, errors: list[RowError]) -> str | None:
    try:
        return unicodedata.normalize("NFC", content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        errors.append(RowError(row=row, detail="is not UTF-8 text: save the file as CSV UTF-8"))
        return None


def _records(text: str, errors: list[RowError]) -> list[list[str]]:
    header = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=header.count), strict=True)
    records: list[list[str]] = []
    try:
        records.extend(reader)
    except csv.Error as error:
        errors.append(RowError(row=reader.line_num, detail=f"is not CSV, so the file can't be trusted: {error}"))
        return []
    if not records or not any(cell.strip() for cell in records[0]):
        errors.append(RowError(row=1, detail="the file has no header"))
        return []
    return records


def _header_errors(header: Sequence[str], kind: type[TableRow]) -> Iterator[RowError]:
    known = ", ".join(f"{name}.…" if _is_group(kind, name) else name for name in _columns(kind))
    for position, name in enumerate(header):
        group, dot, member = name.partition(".")
        if name in header[:position]:
            yield RowError(row=1, column=name, detail="stands twice")
        elif group not in _columns(kind) or _is_group(kind, group) != bool(member) or bool(dot) != bool(member):
            yield RowError(row=1, column=name, detail=f"is not a column of this file; those are {known}")
        elif group in MONEY_GROUPS and member not in CURRENCIES:
            yield RowError(row=1, column=name, detail=f"must name one of {', '.join(CURRENCIES)}")
    present = {name.partition(".")[0] for name in header}
    for name in _columns(kind):
        if kind.model_fields[name].is_required() and name not in present:
            yield RowError(row=1, column=name, detail="this column is missing")


def _columns(kind: type[TableRow]) -> list[str]:
    return [name for name in kind.model_fields if name != "row"]


def _is_group(kind: type[TableRow], name: str) -> bool:
    return get_origin(kind.model_fields[name].annotation) is Mapping


def _read_row(number: int, header: Sequence[str], record: Sequence[str], kind: type[Row], rows: Rows[Row]) -> None:
    cells = Cells(number, {name: cell.strip() for name, cell in zip(header, record, strict=False) if cell.strip()})
    errors: list[RowError] = []
    if len(record) != len(header):
        detail = f"has {len(record)} cells where the header has {len(header)}"
        errors.append(RowError(row=number, detail=detail))
    data = _typed(cells, errors)
    try:
        row = kind.model_validate(data)
    except ValidationError as error:
        named = {wrong.column for wrong in errors}
        found = [_row_error(number, details) for details in error.errors(include_url=False)]
        errors.extend(wrong for wrong in found if wrong.column not in named)
    if errors:
        rows.errors.extend(errors)
        rows.bad.append(cells)
    else:
        rows.good.append(row)


def _typed(cells: Cells, errors: list[RowError]) -> dict[str, Any]:
    """The model's input. An unreadable cell stays as text, so that it isn't reported as missing as well."""
    data: dict[str, Any] = {"row": cells.row}
    for column, text in cells.by_column.items():
        group, _, member = column.partition(".")
        value: str | int = text
        try:
            value = _cell(text, group, member)
        except ValueError as error:
            errors.append(RowError(row=cells.row, column=column, detail=str(error)))
        if member:
            data.setdefault(group, {})[member] = value
        else:
            data[column] = value
    return data


def _cell(text: str, group: str, member: str) -> str | int:
    if any(unicodedata.category(sign) == "Cc" and sign not in "\n\r\t" for sign in text):
        raise ValueError("contains a control character")
    return parse_major(text, member) if group in MONEY_GROUPS else text


def _row_error(row: int, found: Any) -> RowError:
    """A Pydantic error as a row error."""
    column = ".".join(str(part) for part in found["loc"] if part != "[key]") or None
    detail = "is empty" if found["type"] == "missing" else found["msg"].removeprefix("Value error, ")
    return RowError(row=row, column=column, detail=detail)
