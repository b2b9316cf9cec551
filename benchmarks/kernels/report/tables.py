"""The table of aims, with what was measured: reached or not. From the files; no torch, no GPU."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.kernels import aims, store
from benchmarks.kernels.aims import AIMS, PUBLISHED, Aim
from benchmarks.kernels.cases import Case, every_case
from benchmarks.kernels.store import CHAINED, OURS, Row

REACHED, SHORT, MISSED, UNKNOWN = "reached", "reached, not the aim", "not reached", "not measured"


def by_case(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows of each case."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["operator"], row["shape"]), []).append(row)
    return found


def fastest(rows: Sequence[Row], pattern: str = "") -> Row | None:
    """The fastest peer whose name has a match."""
    peers = [r for r in rows if not r["impl"].startswith(OURS) and re.search(pattern, r["impl"])]
    return min(peers, key=lambda row: row["us_median"], default=None)


def best_of_ours(rows: Sequence[Row]) -> Row | None:
    """Ours, called alone or chained, whichever is faster."""
    own = [row for row in rows if row["impl"] in (OURS, CHAINED)]
    return min(own, key=lambda row: row["us_median"], default=None)


def figure_of(aim: Aim, rows: Sequence[Row]) -> float | None:
    """What an aim is about, in these rows of one case."""
    own = best_of_ours(rows)
    if own is None:
        return None
    if aim.figure != "speedup":
        value: float = own[aim.figure]
        return value
    peer = fastest(rows, aim.versus)
    return None if peer is None else peer["us_median"] / own["us_median"]


def verdict(aim: Aim, figure: float | None) -> str:
    """Reached or not."""
    if figure is None:
        return UNKNOWN
    if figure < aim.must:
        return MISSED
    return SHORT if aim.aim is not None and figure < aim.aim else REACHED


def judged(rows: Sequence[Row]) -> Iterator[Row]:
    """Every aim on every case that it is about."""
    found = by_case(rows)
    for aim in AIMS:
        for case in filter(aim.fits, every_case()):
            here = found.get(case.key, [])
            figure, own = figure_of(aim, here), best_of_ours(here)
            yield {
                "case": case.name,
                "operator": case.operator,
                "shape": dict(case.shape),
                "figure": aim.figure,
                "must": aim.must,
                "aim": aim.aim,
                "versus": aim.versus_name or None,
                "text": aim.text,
                "measured": figure,
                "impl": own["impl"] if own else None,
                "verdict": verdict(aim, figure),
            }


def measured_case(case: Case, rows: Sequence[Row]) -> Row:
    """A case with all that was measured of it, the floor, and what makes the floor."""
    floor_us = aims.floor_us(case)
    own = best_of_ours(rows)
    return {
        "case": case.name,
        "operator": case.operator,
        "shape": dict(case.shape),
        "floor_us": floor_us,
        "bound_by": aims.bound_by(case),
        "of_floor": floor_us / own["us_median"] if own else None,
        "impls": {row["impl"]: row["us_median"] for row in rows},
        "rows": list(rows),
    }


def collected(rows: Sequence[Row], accuracy: Sequence[Row], gpu: str) -> dict[str, Any]:
    """The whole report, for machines."""
    found = by_case(rows)
    cases = [measured_case(c, found[c.key]) for c in every_case() if c.key in found]
    return {
        "gpu": gpu,
        "aims": list(judged(rows)),
        "cases": cases,
        "accuracy": list(accuracy),
        "published": [asdict(figure) for figure in PUBLISHED],
    }


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table; the first `left` columns are words, the others numbers."""
    marks = ["---" if i < left else "--:" for i in range(len(heads))]
    return "".join(f"| {' | '.join(line)} |\n" for line in (heads, marks, *lines)) + "\n"


def shown(aim: Mapping[str, Any]) -> str:
    """A measured figure in its unit."""
    if aim["measured"] is None:
        return "-"
    form = {"tb_per_s": ".2f", "tops": ".0f", "speedup": ".2f"}[aim["figure"]]
    return format(aim["measured"], form)


def aims_table(found: Sequence[Row]) -> str:
    """The table of the aims."""
    lines = [[a["case"], a["text"], shown(a), a["impl"] or "-", a["verdict"]] for a in found]
    reached = sum(a["verdict"] in (REACHED, SHORT) for a in found)
    total = f"{reached} of {len(found)} reached.\n"
    return markdown(["case", "must (aim)", "measured", "by", "verdict"], lines, 2) + total


def case_lines(case: Mapping[str, Any]) -> Iterator[list[str]]:
    """Ours and the others, fastest first."""
    for row in sorted(case["rows"], key=lambda row: row["us_median"]):
        error = "-" if row["relative_error"] is None else f"{row['relative_error']:.4f}"
        yield [
            case["case"],
            row["impl"],
            f"{row['us_median']:.2f}",
            f"{row['us_p05']:.2f}-{row['us_p95']:.2f}",
            f"{row['tb_per_s']:.2f}",
            f"{row['tops']:.0f}",
            f"{case['floor_us'] / row['us_median']:.2f} ({case['bound_by']})",
            error,
        ]


def cases_table(cases: Sequence[Mapping[str, Any]]) -> str:
    """All measured figures."""
    heads = ["case", "impl", "us", "p05-p95", "TB/s", "TOPS", "of floor", "relative error"]
    return markdown(heads, [line for case in cases for line in case_lines(case)], 2)


def accuracy_table(rows: Sequence[Row]) -> str:
    """Relative errors: a line for each operator, pattern and scheme, a column for each context."""
    contexts = sorted({row["context"] for row in rows})
    cells: dict[tuple[str, str, str], dict[int, float]] = {}
    for row in rows:
        line = cells.setdefault((row["operator"], row["pattern"], row["scheme"]), {})
        line[row["context"]] = row["relative_error"]
    lines = [
        [*names, *(f"{errors[c]:.4f}" if c in errors else "-" for c in contexts)]
        for names, errors in cells.items()
    ]
    return markdown(["operator", "pattern", "scheme", *map(str, contexts)], lines, 3)


def published_table() -> str:
    """What others reach, that our run does not measure."""
    lines = [[p.operator, p.shape, p.impl, f"{p.value:g} {p.unit}", p.source] for p in PUBLISHED]
    return markdown(["operator", "shape", "impl", "figure", "source"], lines, 5)


def text(report: Mapping[str, Any]) -> str:
    """The whole report, for people, in Markdown."""
    parts = [f"# Kernels on {report['gpu']}\n\n", aims_table(report["aims"]), "\n"]
    if report["cases"]:
        parts += ["## Everything measured\n\n", cases_table(report["cases"])]
    if report["accuracy"]:
        parts += ["## Accuracy of int8 attention\n\n", accuracy_table(report["accuracy"])]
    parts += ["## Figures of others from elsewhere\n\n", published_table()]
    return "".join(parts)


def load(gpu: str, folder: Any = store.RESULTS) -> dict[str, Any]:
    """The report of one GPU's files."""
    rows = store.read(store.path(gpu, ".parquet", folder))
    accuracy = store.read(store.path(gpu, "-accuracy.parquet", folder))
    return collected(rows, accuracy, gpu)
