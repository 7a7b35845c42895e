"""A CSV file as rows of named cells: whatever can't be read is named by row and column, nothing is dropped.

UTF-8 with or without a byte order mark; comma, semicolon or tab, whichever the header uses. The header is row 1, as
a spreadsheet shows it. Cells are trimmed and normalised (NFC); an empty cell counts as absent. Blank rows are
skipped. A column `group.name` belongs to a group (`price.USD`), and cells of a money group are read as prices.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from models.base import Record
from models.money import CURRENCIES, parse_major

MONEY_GROUPS = frozenset({"price", "free_over", "amount", "minimum"})
DELIMITERS = ",;\t"

Row = TypeVar("Row", bound="TableRow")


class RowError(Record):
    """`row` as a spreadsheet counts, the header being 1; `column` is null where the whole row is meant."""

    row: int
    column: str | None = None
    detail: str


class TableRow(BaseModel):
    """Base of the row models: field names are column names, a group is a mapping, cells are text."""

    model_config = {"frozen": True, "extra": "forbid"}

    row: int


@dataclass(slots=True)
class Cells:
    """One record of the file as it stands."""

    row: int
    by_column: Mapping[str, str]


@dataclass(slots=True)
class Table:
    """What could be read, and every reason why something couldn't."""

    rows: list[Cells] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)


def read_rows(content: bytes, kind: type[Row]) -> tuple[list[Row], list[RowError]]:
    """The rows of `content` that are valid as `kind`, and the errors of the others, by row."""
    table = read_table(content, kind)
    good, errors = [], list(table.errors)
    for cells in table.rows:
        row, wrong = _validate(cells, kind)
        errors.extend(wrong)
        if row is not None:
            good.append(row)
    return good, sorted(errors, key=lambda error: error.row)


def read_table(content: bytes, kind: type[TableRow]) -> Table:
    """The cells under a good header; a header that is wrong, or bytes that are not text, refuse the whole file."""
    table = Table()
    text = _decode(content, table.errors)
    if text is None:
        return table
    records = _records(text, table.errors)
    header = [cell.strip() for cell in next(records, (1, []))[1]]
    table.errors.extend(_header_errors(header, kind))
    if table.errors:
        return table
    for number, record in records:
        if not any(cell.strip() for cell in record):
            continue
        if len(record) != len(header):
            detail = f"has {len(record)} cells where the header has {len(header)}"
            table.errors.append(RowError(row=number, detail=detail))
            continue
        named = {name: cell.strip() for name, cell in zip(header, record, strict=True)}
        table.rows.append(Cells(number, {name: cell for name, cell in named.items() if cell}))
    return table


def _decode(content: bytes, errors: list[RowError]) -> str | None:
    try:
        return unicodedata.normalize("NFC", content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        errors.append(RowError(row=row, detail="is not UTF-8 text: save the file as CSV UTF-8"))
        return None


def _records(text: str, errors: list[RowError]) -> Iterator[tuple[int, list[str]]]:
    """Numbered records; broken quoting ends the reading with an error, as what follows can't be trusted."""
    header = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=header.count), strict=True)
    number = 1
    try:
        for record in reader:
            yield number, record
            number += 1
    except csv.Error as error:
        errors.append(RowError(row=number, detail=f"can't be read, nor what follows: {error}"))


def _header_errors(header: list[str], kind: type[TableRow]) -> Iterator[RowError]:
    if not any(header):
        yield RowError(row=1, detail="the file has no header")
        return
    fields = {name: info for name, info in kind.model_fields.items() if name != "row"}
    for position, name in enumerate(header):
        group, dot, member = name.partition(".")
        if name in header[:position]:
            yield RowError(row=1, column=name, detail="stands twice")
        elif group not in fields or bool(dot) != _is_group(kind, group) or (dot and not member):
            yield RowError(row=1, column=name, detail=f"is not a column of this file: {_columns(kind)}")
        elif group in MONEY_GROUPS and member not in CURRENCIES:
            yield RowError(row=1, column=name, detail=f"must name one of {', '.join(CURRENCIES)}")
    for name, info in fields.items():
        if info.is_required() and name not in header and not _is_group(kind, name):
            yield RowError(row=1, column=name, detail="is missing")


def _is_group(kind: type[TableRow], name: str) -> bool:
    return "Mapping" in str(kind.model_fields[name].annotation)


def _columns(kind: type[TableRow]) -> str:
    return ", ".join(f"{n}.…" if _is_group(kind, n) else n for n in kind.model_fields if n != "row")


def _validate(cells: Cells, kind: type[Row]) -> tuple[Row | None, list[RowError]]:
    data: dict[str, Any] = {"row": cells.row}
    errors = []
    for column, text in cells.by_column.items():
        try:
            group, dot, member = column.partition(".")
            value = _cell(text, group, member)
        except ValueError as error:
            errors.append(RowError(row=cells.row, column=column, detail=str(error)))
            continue
        if dot:
            data.setdefault(group, {})[member] = value
        else:
            data[column] = value
    try:
        row = kind.model_validate(data)
    except ValidationError as error:
        errors.extend(_row_error(cells.row, found) for found in error.errors())
        return None, errors
    return (None if errors else row), errors


def _cell(text: str, group: str, member: str) -> str | int:
    if any(unicodedata.category(sign) == "Cc" and sign not in "\n\r\t" for sign in text):
        raise ValueError("contains a control character")
    return parse_major(text, member) if group in MONEY_GROUPS else text


def _row_error(row: int, found: Any) -> RowError:
    column = ".".join(str(part) for part in found["loc"] if part != "[key]") or None
    detail = "is empty" if found["type"] == "missing" else found["msg"].removeprefix("Value error, ")
    return RowError(row=row, column=column, detail=detail)
