"""Spreadsheets: a workbook (.xlsx, by XlsxWriter: the extra `sheet`), or a folder of CSV files.

A workbook, since Excel reads numbers from it as numbers wherever it runs, while it reads a CSV
by the decimal comma of its country. The CSV files are UTF-8 with a byte order mark, which tells
Excel so, and need no library. Text is never taken as a formula.
"""

import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from kaiju_sim.errors import UserError
from kaiju_sim.exports.tables import Cell, Sheet
from kaiju_sim.report import atomic

_WIDEST, _TITLE = 60, 31
"""Characters of a column, of a sheet's name (Excel's limit)."""
_NO_DATE = datetime(2000, 1, 1, tzinfo=UTC).replace(tzinfo=None)
"""A workbook's own date: the same run gives the same bytes."""


def workbook(sheets: Sequence[Sheet]) -> bytes:
    """The sheets as an .xlsx file; UserError if XlsxWriter is not installed."""
    try:
        import xlsxwriter
    except ImportError:
        raise UserError(
            "--xlsx needs XlsxWriter: pip install 'kaiju-fleet-planner[sheet]'; --csv does not"
        ) from None
    file = io.BytesIO()
    plain = {"strings_to_formulas": False, "strings_to_urls": False, "in_memory": True}
    book = xlsxwriter.Workbook(file, plain)
    book.set_properties({"created": _NO_DATE})
    bold = book.add_format({"bold": True, "bottom": 1})
    for name, sheet in zip(titles(sheets), sheets, strict=True):
        page = book.add_worksheet(name)
        page.freeze_panes(1, 0)
        page.write_row(0, 0, list(sheet.heads), bold)
        for at, row in enumerate(sheet.rows, start=1):
            page.write_row(at, 0, list(row))
        for place, width in enumerate(widths(sheet)):
            page.set_column(place, place, width)
    book.close()
    return file.getvalue()


def titles(sheets: Sequence[Sheet]) -> list[str]:
    """Names that Excel takes: short, none of []:*?/\\, no two alike."""
    found: list[str] = []
    for sheet in sheets:
        short = "".join("-" if c in "[]:*?/\\" else c for c in sheet.name)[:_TITLE].strip("'")
        name, number = short, 2
        while name.lower() in (other.lower() for other in found):
            name = f"{short[: _TITLE - 4]} {number}"
            number += 1
        found.append(name)
    return found


def widths(sheet: Sheet) -> list[int]:
    """Widths of the columns, in characters: those of the first rows."""
    rows = [sheet.heads, *sheet.rows[:200]]
    count = max(len(row) for row in rows)
    cells = [
        [len(str(row[i])) for row in rows if i < len(row) and len(row) > 1] for i in range(count)
    ]
    return [min(_WIDEST, max([8, *lengths]) + 2) for lengths in cells]


def csv_text(sheet: Sheet) -> bytes:
    """One sheet as CSV: commas, points, UTF-8 with a byte order mark, CRLF (RFC 4180)."""
    file = io.StringIO(newline="")
    out = csv.writer(file)
    out.writerow(sheet.heads)
    out.writerows([[_safe(cell) for cell in row] for row in sheet.rows])
    return file.getvalue().encode("utf-8-sig")


def _safe(cell: Cell) -> Cell:
    """Text that a spreadsheet would take as a formula, quoted as text."""
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@") and len(cell) > 1:
        return f"'{cell}"
    return cell


def check_folder(target: Path, sheets: Sequence[Sheet]) -> None:
    """UserError if the folder holds anything but an earlier export."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UserError("is no folder", target)
    names = set(file_names(sheets))
    for entry in target.iterdir() if target.exists() else ():
        if entry.name not in names:
            raise UserError(f"will not be replaced: it holds {entry.name!r}", target)


def file_names(sheets: Sequence[Sheet]) -> list[str]:
    """The CSV file of each sheet."""
    plain = [re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") for name in titles(sheets)]
    return [f"{name}.csv" for name in plain]


def write_csv(sheets: Sequence[Sheet], target: Path) -> None:
    """A folder with a file for each sheet, whole or not at all; an earlier export is replaced."""
    check_folder(target, sheets)
    with atomic.appearing(target) as folder:
        for name, sheet in zip(file_names(sheets), sheets, strict=True):
            (folder / name).write_bytes(csv_text(sheet))
