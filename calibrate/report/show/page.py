"""Puts the report between the marks of a page: all of it, or the table of design choices."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from calibrate.report.show import plots, tables
from kaiju_sim.errors import UserError
from kaiju_sim.report.atomic import write_file

Report = Mapping[str, Any]
FIGURES, WORTH = "step figures", "design choices"
"""What may stand between marks; a page may have one or both."""


def marks(name: str) -> tuple[str, str]:
    """The lines between which a part of the report goes."""
    return f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"


def fill(page: Path, report: Report) -> list[Path]:
    """Rewrite what is between the marks; the files written. UserError if the page has no marks.

    Drawings go into `img/` beside a page that has the whole report.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", page) from error
    parts: dict[str, Callable[[], str]] = {
        WORTH: lambda: worth(report["profiles"]),
        FIGURES: lambda: figures(report["profiles"], drawn, page.parent),
    }
    there = [name for name in parts if all(mark in text for mark in marks(name))]
    if not there:
        raise UserError(f"has no place for figures: it needs {marks(FIGURES)[0].strip()}", page)
    drawn = plots.write(report["profiles"], page.parent / "img") if FIGURES in there else {}
    for name in there:
        text = _between(text, *marks(name), parts[name]())
    write_file(page, text.encode())
    return [*(file for files in drawn.values() for file in files), page]


def _between(text: str, begin: str, end: str, inner: str) -> str:
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{inner}{end}{rest.partition(end)[2]}"


def figures(profiles: Sequence[Report], drawn: Mapping[str, Sequence[Path]], folder: Path) -> str:
    """Every profile: tables, then drawings."""
    parts = []
    for profile in profiles:
        links = [os.path.relpath(file, folder) for file in drawn.get(profile["id"], ())]
        shown = [f"![{Path(link).stem}]({Path(link).as_posix()})\n\n" for link in links]
        parts += [tables.markdown_of(profile), *shown]
    return "".join(parts)


def worth(profiles: Sequence[Report]) -> str:
    """The table of design choices, of each profile that has one with a variant."""
    found = [profile for profile in profiles if len(profile["worth"]) > 1]
    return "".join(
        f"{tables.head(profile)}\n" + tables.markdown(tables.worth_table(profile["worth"]))
        for profile in found
    )
