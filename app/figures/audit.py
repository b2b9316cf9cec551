"""The audit's rows as the page shows them."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from app.figures.scenarios import ROOT
from kaiju_sim.audit.rows import audit_rows
from kaiju_sim.audit.simulated import STUDIES
from kaiju_sim.audit.words import texts, verdicts

Row = dict[str, Any]
COLUMNS = 5
"""Of the table of simulated claims in docs/audit.md."""
REPLICATIONS = 3


@cache
def rows() -> tuple[Row, ...]:
    """Every claim recomputed (nothing simulated), with its figures as texts."""
    return tuple(row | {"texts": texts(row)} for row in audit_rows())


def names() -> list[str]:
    """Verdicts that there are, the most frequent first."""
    return [name for name, _ in Counter(row["verdict"] for row in rows()).most_common()]


def chosen(
    verdict: Sequence[str], who: str, words: str, behaviour: bool, found: Sequence[Row]
) -> list[Row]:
    """Rows with one of these verdicts (all if none), of *who* ("all": anybody), with the words.

    *behaviour*: only claims about behaviour, which can be simulated.
    """
    low = words.casefold().split()
    return [
        row
        for row in found
        if (not verdict or row["verdict"] in verdict)
        and who in ("all", whose(row))
        and (not behaviour or row["id"] in studied())
        and all(word in f"{row['id']} {row['claim']} {row['source']}".casefold() for word in low)
    ]


@cache
def studied() -> tuple[str, ...]:
    """Ids of the claims that runs are held against."""
    return tuple(dict.fromkeys(study.claim for study in STUDIES))


def with_simulated(made: Sequence[Row] | None) -> list[Row]:
    """All claims; those that were simulated here with what came of it."""
    known = {row["id"]: row | {"texts": texts(row)} for row in made or ()}
    return [known.get(row["id"], row) for row in rows()]


@cache
def documented() -> dict[str, str]:
    """What docs/audit.md says of simulated claims, by id; the first line of each."""
    file = ROOT / "docs" / "audit.md"
    page = file.read_text(encoding="utf-8") if file.is_file() else ""
    lines = (line.split(" | ") for line in page.partition("## Simulated\n")[2].splitlines())
    cells = [[cell.strip("| ") for cell in line] for line in lines if len(line) == COLUMNS]
    return {cell[0]: cell[3] for cell in reversed(cells) if cell[0] in studied()}


def simulated_text(row: Row) -> str:
    """The simulated figure: made here, else as documented."""
    if row["simulated"] is not None:
        return str(row["texts"]["simulated"])
    known = documented().get(row["id"])
    return "" if known is None else f"{known}, documented"


def studies(row: Row) -> list[dict[str, str]]:
    """What was simulated for a claim, with the commands that repeat it."""
    return [
        {
            "what is simulated": one["says"],
            "mean and 95 % interval": one["text"],
            "replications": str(one["replications"]),
            "step times": one["step_times"],
            "command": "; ".join(one["commands"]),
        }
        for one in row["texts"]["studies"]
    ]


def planned(name: str) -> list[dict[str, str]]:
    """What would be simulated for a claim."""
    return [
        {"what is simulated": one.says, "on": ", ".join(cell.scenario for cell in one.cells)}
        for one in STUDIES
        if one.claim == name
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
            "simulated": simulated_text(row),
        }
        for row in found
    ]


def of_id(name: str, found: Sequence[Row]) -> Row | None:
    """The claim with that id."""
    return next((row for row in found if row["id"] == name), None)


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
