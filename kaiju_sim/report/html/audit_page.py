"""The audit as one self-contained page in the style of the report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import kaiju_sim
from kaiju_sim.report.html import charts, page

Row = Mapping[str, Any]
"""A row of the audit, its figures as texts for people (`Texts`)."""

_BADGES = {
    "holds": "stable",
    "unsupported": "backlogged",
}
_REFUTED = "overloaded"


def audit_page(rows: Sequence[Row]) -> str:
    """HTML of the audit's rows, to which `texts` has the figures as people read them."""
    figure = charts.factor_figure(
        "Stated / recomputed, where it is off by 5 % or more", factors(rows), "kaiju-sim audit"
    )
    body = [
        "<header><h1>Audit: closed-form claims, recomputed</h1>\n",
        '<p class="title">The 52 numbered claims of a case study, and published ones (P). Each ',
        "recomputed figure follows from the inputs shown with it.</p></header>\n",
        _cards(rows),
        "<h2>How far off</h2>\n",
        f'<div class="charts">{page.chart(0, wide=True)}</div>\n',
        "<h2>Claims</h2>\n",
        f'<div class="panel">{_claims(rows)}</div>\n',
        "<h2>In detail</h2>\n",
        *(page.details(f"{row['id']}. {row['claim']}", _detail(row)) for row in rows),
        f"<footer>Kaiju fleet planner {page.escape(kaiju_sim.__version__)}.</footer>\n",
    ]
    return page.document("Audit", "".join(body), [figure])


def factors(rows: Sequence[Row]) -> dict[str, float]:
    """Stated over recomputed of each claim where both are numbers over 0 and 5 % apart."""
    found = {}
    for row in rows:
        stated, right = row["stated"], row["recomputed"]
        if isinstance(stated, float) and isinstance(right, float) and min(stated, right) > 0:
            factor = stated / right
            if not 0.95 < factor < 1.05:
                found[row["id"]] = factor
    return found


def badge(verdict: str) -> str:
    """A verdict in its colour."""
    kind = _BADGES.get(verdict, _REFUTED)
    return f'<span class="badge {kind}">{page.escape(verdict)}</span>'


def _cards(rows: Sequence[Row]) -> str:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
    cards = (
        f'<div class="card"><b>{count}</b><span>{page.escape(verdict)}</span></div>\n'
        for verdict, count in sorted(counts.items(), key=lambda item: -item[1])
    )
    return f'<div class="cards">\n{"".join(cards)}</div>\n'


def _claims(rows: Sequence[Row]) -> str:
    cells = [
        [
            page.escape(row["id"]),
            page.escape(row["claim"]),
            *(page.escape(row["texts"][key]) for key in ("stated", "recomputed")),
            badge(row["verdict"]),
            page.escape(row["texts"]["simulated"]),
        ]
        for row in rows
    ]
    heads = ("", "claim", "stated", "recomputed", "verdict", "simulated (95 % interval)")
    return page.table(heads, cells, ("number", "", "", "", "name", ""))


def _detail(row: Row) -> str:
    parts = [
        [
            page.escape(part["says"]),
            page.escape(part["text"]),
            f"<code>{page.escape(part['formula'])}</code>",
            badge(part["verdict"]),
        ]
        for part in row["texts"]["parts"]
    ]
    right = [
        [page.escape(item["says"]), page.escape(item["text"]), f"<code>{item['formula']}</code>"]
        for item in row["texts"]["corrected"]
    ]
    return "".join(
        [
            page.table(("part", "stated and recomputed", "formula", "verdict"), parts),
            page.table(("corrected", "", "formula"), right) if right else "",
            _inputs(row),
            *_simulated(row),
            f'<p class="note">Source: {page.escape(row["source"])}</p>\n',
        ]
    )


def _inputs(row: Row) -> str:
    cells = [
        [f"<code>{page.escape(i['name'])}</code>"]
        + [page.escape(text) for text in (i["text"], i["grade"], i["source"])]
        for i in row["texts"]["inputs"]
    ]
    return page.table(("input", "value", "grade", "source"), cells, ("name", "", "", ""))


def _simulated(row: Row) -> Iterator[str]:
    for entry in row["texts"]["studies"]:
        commands = "\n".join(entry["commands"])
        yield f"<p>Simulated, {page.escape(entry['says'])}: <b>{page.escape(entry['text'])}</b></p>"
        yield f"<pre>{page.escape(commands)}</pre>\n"
