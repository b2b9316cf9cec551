"""A result as one page of HTML, in the style of a run's report."""

from collections.abc import Sequence

import kaiju_sim
from kaiju_sim.report.html import page
from kaiju_sim.report.money.words import Words


def page_of(title: str, lines: Sequence[str], tables: Sequence[Words]) -> str:
    """The lines, the first as the answer; then the tables."""
    said = "".join(f"<p>{page.escape(line)}</p>\n" for line in lines[1:])
    body = [
        f'<header><p class="title">{page.escape(title)}</p>\n',
        f"<h1>{page.escape(lines[0])}</h1>\n{said}</header>\n",
        *(_table(words) for words in tables),
        f"<footer>Kaiju fleet planner {page.escape(kaiju_sim.__version__)}.</footer>\n",
    ]
    return page.document(title, "".join(body), [])


def _table(words: Words) -> str:
    cells = [[page.escape(cell) for cell in row] for row in words.rows]
    heads = [page.escape(head) for head in words.heads]
    note = f'<p class="note">{page.escape(words.note)}</p>\n' if words.note else ""
    panel = f'<div class="panel">{page.table(heads, cells)}</div>\n'
    return f"<h2>{page.escape(words.title)}</h2>\n{panel}{note}"
