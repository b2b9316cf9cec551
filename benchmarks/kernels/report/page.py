"""Puts the report's tables and drawings between the marks of a page."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.kernels.report import tables

BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


def figures(report: Mapping[str, Any], drawings: Sequence[str]) -> str:
    """Reached or not, drawings, everything measured, and errors."""
    parts = [f"Measured on {report['gpu']}.\n\n", tables.aims_table(report["aims"]), "\n"]
    parts += [f"![{Path(file).stem}]({file})\n\n" for file in drawings]
    if report["cases"]:
        parts += ["### Everything measured\n\n", tables.cases_table(report["cases"])]
    if report["accuracy"]:
        parts += ["### Errors of int8 attention\n\n", tables.accuracy_table(report["accuracy"])]
    return "".join(parts)


def fill(page: Path, report: Mapping[str, Any], drawings: Sequence[Path]) -> None:
    """Replace what is between the marks. Raises ValueError if the page has none."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f"{page}: no place for figures: it needs {BEGIN.strip()} and {END.strip()}"
        )
    links = [Path(os.path.relpath(file, page.parent)).as_posix() for file in drawings]
    inner = figures(report, links)
    page.write_text(before + BEGIN + "\n" + inner + END + after, encoding="utf-8")
