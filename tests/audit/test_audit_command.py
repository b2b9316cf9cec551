"""`kaiju-sim audit`: the table, JSON, the page of docs/ and the report."""

import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from audit_figures import CLAIMS

from kaiju_sim.audit.document import SIMULATED
from kaiju_sim.audit.rows import audit_rows
from kaiju_sim.audit.words import number, shown, spread, texts, verdicts
from kaiju_sim.cli import main
from kaiju_sim.report.html.audit_page import audit_page, factors
from kaiju_sim.report.html.charts import factor_figure

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[2]
STUDY: dict[str, Any] = {
    "says": "times <less>",
    "value": 14.587,
    "low": 14.435,
    "high": 14.739,
    "unit": "times",
    "replications": 2,
    "step_times": "roofline",
    "values": [14.5, 14.7],
    "commands": ["kaiju-sim run baseline --replications 2"],
    "also": [],
}


def told(capsys: Capture, *words: str) -> str:
    """What the command prints, in the end."""
    assert main(["audit", "--no-simulate", *words]) == 0
    return capsys.readouterr().out


def test_json_has_a_row_per_claim(capsys: Capture) -> None:
    rows = json.loads(told(capsys, "--format", "json"))
    assert [row["id"] for row in rows] == list(CLAIMS)
    assert rows == audit_rows()


def test_the_table_shows_every_claim(capsys: Capture) -> None:
    page = told(capsys)
    assert "10.24 billion tokens" in page
    assert "10.24 million tokens" in page
    assert f"{len(CLAIMS)} claims: " in page
    assert max(len(line) for line in page.splitlines()) <= 140


def test_only_some_in_any_case(capsys: Capture) -> None:
    rows = json.loads(told(capsys, "--format", "json", "--only", "p2, 7"))
    assert [row["id"] for row in rows] == ["7", "P2"]


def test_an_unknown_claim_is_the_users_mistake(capsys: Capture) -> None:
    assert main(["audit", "--no-simulate", "--only", "53"]) == 2
    assert "no claim '53'" in capsys.readouterr().err


def test_a_folder_that_cannot_be_is_the_users_mistake(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("")
    assert main(["audit", "--no-simulate", "-o", str(tmp_path / "file" / "out")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_nothing_is_written_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    told(capsys)
    assert list(tmp_path.iterdir()) == []
    told(capsys, "-o", "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "audit.json",
        "report.html",
        "runs",
    }
    assert json.loads((tmp_path / "out" / "audit.json").read_text()) == audit_rows()


def test_simulated_values_reach_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    asked: dict[str, Any] = {}

    def simulate_claims(folder: Path, **options: Any) -> dict[str, Any]:
        asked.update(options, folder=folder)
        return {"27": STUDY}

    monkeypatch.setattr("kaiju_sim.audit.simulated.simulate_claims", simulate_claims)
    words = ["--only", "27,28", "--format", "json", "-o", str(tmp_path), "--replications", "2"]
    assert main(["audit", *words, "-q"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["simulated"] for row in rows] == [STUDY, None]
    assert (asked["only"], asked["replications"], asked["folder"]) == (
        ["27", "28"],
        2,
        tmp_path / "runs",
    )
    assert "14.6 (14.4 to 14.7) times" in (tmp_path / "report.html").read_text()


def test_the_page_in_docs_is_the_one_that_is_printed(capsys: Capture) -> None:
    """All but the simulated values, which take minutes."""
    printed = told(capsys, "--format", "markdown").split(SIMULATED)[0]
    kept = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert kept.split(SIMULATED)[0] == printed, "run: kaiju-sim audit --format markdown"


def test_the_page_in_docs_has_every_simulated_value() -> None:
    from kaiju_sim.audit.simulated import STUDIES

    kept = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8").split(SIMULATED)[1]
    for study in STUDIES:
        assert f"| {study.claim} |" in kept
        assert study.says in kept


def test_the_report_says_it_all_and_escapes() -> None:
    rows = audit_rows(simulated={"27": STUDY})
    page = audit_page([row | {"texts": texts(row)} for row in rows])
    for row in rows:
        assert f"{row['id']}. " in page
    assert "times &lt;less&gt;" in page
    assert "<less>" not in page
    assert "kaiju-sim run baseline --replications 2" in page
    go.Figure(factor_figure("off", factors(rows), "here"))  # Plotly knows all its keys
    assert factors(rows)["7"] == pytest.approx(1000.0)
    assert "3" not in factors(rows)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (451.171875, "451.2"),
        (50000.0, "50,000"),
        (0.0013333, "0.001333"),
        (10.24e9, "10.24 billion"),
        (4.8e15, "4.8e15"),
        (2.0, "2"),
    ],
)
def test_numbers_read_well(value: float, expected: str) -> None:
    assert number(value) == expected


def test_nothing_is_a_dash_and_other_verdicts_are_told() -> None:
    assert shown(None) == spread(None) == "–"
    rows = {row["id"]: row for row in audit_rows()}
    assert verdicts(rows["1"]) == "holds; unsupported"
    assert verdicts(rows["16"]) == "contradicts itself; holds; wrong unit"
