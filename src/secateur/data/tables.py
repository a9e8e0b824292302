"""Comma-separated files, read row by row with the line of whatever is wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from secateur.errors import DataError

LONGEST_FIELD = 1 << 27
"""Longer fields are taken for a quote that is never closed."""


def rows(text: str, path: Path | str, delimiter: str = ",", columns: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of each row of a CSV file; `DataError` for a row that has not `columns` columns, or as many as the first row.

    A row's line is the one it ends on; empty lines are passed over.
    """
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            if not fields:
                continue
            if columns is None:
                columns = len(fields)
            if len(fields) != columns:
                raise DataError(f"{path}, line {reader.line_num}: {len(fields)} columns, expected {columns}")
            yield reader.line_num, fields
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not well-formed CSV: {error}") from error


def named_columns(header: list[str], names: tuple[str, ...], path: Path | str) -> tuple[int, ...]:
    """The places of the columns called `names`; `DataError` naming the first that is missing."""
    for name in names:
        if name not in header:
            raise DataError(f"{path}, line 1: no column {name!r}; the columns are {', '.join(header)}")
    return tuple(header.index(name) for name in names)
