"""The audit beside the project's graded facts, where these are at hand."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_figures import CLAIMS, numbers

from kaiju_sim.audit.claim import all_inputs
from kaiju_sim.audit.rows import row_of

ROOT = Path(__file__).resolve().parents[2]
CLASS_OF = {
    "holds": {"OK"},
    "wrong arithmetic": {"BAD"},
    "wrong unit": {"BAD"},
    "contradicts itself": {"BAD"},
    "contradicts a primary source": {"BAD", "MIS"},
    "unsupported": {"UNS"},
}
WORDS = {
    r"\bOK\b|\bok\b": "OK",
    r"\bBAD\b|meaningless|garbled|inconsistent|one-layer|vs \"p95": "BAD",
    r"\bMIS\b": "MIS",
    r"\bUNS\b|plausible only": "UNS",
}
NUMBER = re.compile(r"(?<![\w.^])(\d[\d,]*\.?\d*|\.\d+)\s?(K|M|TB|T|B|%|PFLOP|)(?!\w|\^|\.\d)")
SCALES = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, "TB": 1e12, "%": 0.01, "PFLOP": 1e15}
BESIDE = {
    "8": {".62"},  # POP/s of an A100, whose rate in tokens/s is there
    "9": {"7", "8"},  # numbers of claims
    "14": {".003"},
    "16": {"1,000"},
    "19": {"6"},
    "21": {"200"},
    "29": {"1.0"},
    "32": {"624", "312"},
    "33": {"13", "34", "110"},
    "37": {"6"},
    "38": {"2", "5"},
    "39": {"5", "25"},
    "41": {"15"},
    "42": {"1"},
    "44": {"1"},
    "46": {"15", "45"},
    "51": {"800"},
}
"""Numbers of a row that are references, or stand in another unit among ours."""


@pytest.fixture(scope="module")
def facts() -> dict[str, str]:
    """Verdict and correct figure of each claim, by its number; or a skip."""
    folder = Path(os.environ.get("KAIJU_SHARED", ROOT.parent / "shared"))
    path = folder / "design" / "facts.md"
    if not path.is_file():
        pytest.skip("no graded facts here: set KAIJU_SHARED")
    text = path.read_text(encoding="utf-8").split("## 7.")[1].split("**Self-consistent")[0]
    rows = re.finditer(r"^\| (\d+) \| .*? \| (.*) \|$", text, re.MULTILINE)
    return {row[1]: row[2].replace("**", "") for row in rows}


def classes(text: str) -> set[str]:
    """The verdicts that a row of the facts gives."""
    return {name for pattern, name in WORDS.items() if re.search(pattern, text)}


def figures_in(text: str) -> Iterator[tuple[str, set[float]]]:
    """Numbers of a row with what they may mean: as written, and by their suffix."""
    for found in NUMBER.finditer(text):
        written = found[1].rstrip(".,")
        plain = float(written.replace(",", ""))
        yield written, {plain, plain * SCALES[found[2]]}


def test_all_rows_are_read(facts: dict[str, str]) -> None:
    assert set(facts) == {str(i) for i in range(1, 53)}


@pytest.mark.parametrize("claim_id", [str(i) for i in range(1, 53)])
def test_the_verdict_is_that_of_the_facts(facts: dict[str, str], claim_id: str) -> None:
    row = row_of(CLAIMS[claim_id], all_inputs())
    wanted = classes(facts[claim_id])
    assert wanted, facts[claim_id]
    assert CLASS_OF[row["verdict"]] & wanted, (row["verdict"], facts[claim_id])
    ours = set().union(*(CLASS_OF[part["verdict"]] for part in row["parts"]))
    assert wanted <= ours, (ours, facts[claim_id])


@pytest.mark.parametrize("claim_id", [str(i) for i in range(1, 53)])
def test_the_correct_figures_are_among_the_recomputed(facts: dict[str, str], claim_id: str) -> None:
    ours = [abs(value) for value in numbers(row_of(CLAIMS[claim_id], all_inputs()))]
    for written, meanings in figures_in(facts[claim_id]):
        if written not in BESIDE.get(claim_id, set()):
            found = any(
                math.isclose(value, meaning, rel_tol=0.03) for value in ours for meaning in meanings
            )
            assert found, f"{written} in: {facts[claim_id]}"
