"""The audit's rows as the page shows them."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from kaiju_sim.audit.rows import audit_rows
from kaiju_sim.audit.words import texts, verdicts

Row = dict[str, Any]


@cache
def rows() -> tuple[Row, ...]:
    """Every claim recomputed (nothing simulated), with its figures as texts."""
    return tuple(row | {"texts": texts(row)} for row in audit_rows())


def names() -> list[str]:
    """Verdicts that there are, the most frequent first."""
    return [name for name, _ in Counter(row["verdict"] for row in rows()).most_common()]


def chosen(verdict: Sequence[str], who: str, words: str) -> list[Row]:
    """Rows with one of these verdicts (all if none), of *who* ("all": anybody), with the words."""
    low = words.casefold().split()
    return [
        row
        for row in rows()
        if (not verdict or row["verdict"] in verdict)
        and who in ("all", whose(row))
        and all(word in f"{row['id']} {row['claim']} {row['source']}".casefold() for word in low)
    ]


def whose(row: Row) -> str:
    """Whose claim it is."""
    return "case study" if row["id"].isdigit() else "published"


def counted(found: Sequence[Row]) -> list[dict[str, Any]]:
    """How many rows have which verdict."""
    counts = Counter(row["verdict"] for row in found)
    return [{"verdict": name, "claims": count} for name, count in counts.most_common()]


def table(found: Sequence[Row]) -> list[dict[str, str]]:
    """The rows for people."""
    return [
        {
            "id": row["id"],
            "claim": row["claim"],
            "stated": row["texts"]["stated"],
            "recomputed": row["texts"]["recomputed"],
            "verdict": verdicts(row),
        }
        for row in found
    ]


def of_id(name: str) -> Row | None:
    """The claim with that id."""
    return next((row for row in rows() if row["id"] == name), None)


def parts(row: Row) -> list[dict[str, str]]:
    """What is judged about a claim."""
    keys = {"says": "part", "text": "stated and recomputed", "formula": "formula"}
    return [
        {title: str(part[key]) for key, title in keys.items()} | {"verdict": part["verdict"]}
        for part in row["texts"]["parts"]
    ]


def corrected(row: Row) -> list[dict[str, str]]:
    """What would be right."""
    return [
        {"corrected": item["says"], "figure": item["text"], "formula": item["formula"]}
        for item in row["texts"]["corrected"]
    ]


def inputs(row: Row) -> list[dict[str, str]]:
    """What it is recomputed from, with grades."""
    return [
        {"input": i["name"], "value": i["text"], "grade": i["grade"], "source": i["source"]}
        for i in row["texts"]["inputs"]
    ]
