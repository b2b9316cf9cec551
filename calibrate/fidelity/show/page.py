"""Puts the comparison between the marks of a page: in short, with the drawings."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from calibrate.fidelity.show.tables import (
    glance,
    head,
    markdown_of,
    short_causes,
    tables_of,
    worst_line,
)
from calibrate.report.show.page import marks
from calibrate.report.show.tables import markdown
from kaiju_sim.errors import UserError
from kaiju_sim.report.atomic import write_file

NAME = "fidelity figures"
LONG = ("Errors", "Where it comes from (the first run)")
"""Tables that a page has in short."""


def fill(page: Path, found: Mapping[str, Any], drawings: Sequence[Path]) -> None:
    """Rewrite what is between the marks; UserError if the page has none."""
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", page) from error
    begin, end = marks(NAME)
    if begin not in text or end not in text:
        raise UserError(f"has no place for figures: it needs {begin.strip()}", page)
    before, _, rest = text.partition(begin)
    inner = "".join(_parts(found, drawings, page.parent))
    write_file(page, f"{before}{begin}\n{inner}{end}{rest.partition(end)[2]}".encode())


def _parts(found: Mapping[str, Any], drawings: Sequence[Path], folder: Path) -> Iterator[str]:
    yield f"{head(found)}\n{worst_line(found)}\n{markdown(glance(found['rows']))}\n"
    for table in tables_of(found):
        if table.title not in LONG:
            yield markdown_of(table)
    yield markdown_of(short_causes(found["causes"]))
    for file in drawings:
        link = Path(os.path.relpath(file, folder)).as_posix()
        yield f"![{file.stem}: measured and simulated]({link})\n\n"
