"""The gate on the console and in the report: tables where there is one, none where there is not."""

import io
from pathlib import Path

import numpy as np
from gate_runs import classes, gated

from kaiju_sim.metrics.figures.safety import roc, wilson
from kaiju_sim.report.console import print_summary
from kaiju_sim.report.glossary import undocumented
from kaiju_sim.report.html import write_report
from kaiju_sim.report.rundir import write_run
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.simulation import simulate

ROOT = Path(__file__).parents[2]


def test_the_tables_stand_on_both_pages(tmp_path: Path) -> None:
    for safety in ({"pre": "before", "post": {"kind": "classifier"}, **classes(0.2, 0.2)}, {}):
        result = simulate(gated(safety, {"run": {"horizon": 10.0}}))
        assert undocumented(result.summary) == []
        out = io.StringIO()
        print_summary(result.summary, out)
        write_run(result, "name: gate\n", {}, tmp_path / "run")
        report = write_report(tmp_path / "run").read_text(encoding="utf-8")
        shown = bool(safety)
        for words in ("gate, messages", "gate, answers", "Wrongly refused", "% busy"):
            assert (words in out.getvalue()) == shown, words
        assert ("<h2>Safety gate</h2>" in report) == shown
        assert max(map(len, out.getvalue().splitlines())) <= 100
        assert "…" not in out.getvalue()


def test_the_wilson_interval_is_the_textbook_s() -> None:
    """10 of 100: 0.0552 to 0.1744 (Wilson 1927); nothing has no rate."""
    low, high = wilson(10, 100)
    assert round(low or 0, 4) == 0.0552
    assert round(high or 0, 4) == 0.1744
    assert wilson(0, 50)[0] == 0.0
    assert wilson(0, 0) == (None, None)


def test_a_roc_begins_and_ends_in_its_corners() -> None:

    false, true = roc(np.array([5, 3, 0, 2]), np.array([0, 1, 4, 5]))
    assert false.tolist() == [0.0, 0.2, 0.2, 0.5, 1.0]
    assert true.tolist() == [0.0, 0.5, 0.9, 1.0, 1.0]
    assert roc(np.zeros(4, int), np.ones(4, int))[0].size == 0


def test_the_overrides_are_what_they_say() -> None:
    for name in ("published", "case_study"):
        file = ROOT / "scenarios" / f"{name}.yaml"
        found = {
            override: load_scenario(file, overrides=[override]).scenario
            for override in ("gate", "no-pre-gate", "beam-3")
        }
        assert found["gate"].safety.pre == "before"
        assert found["no-pre-gate"].safety.pre == "after"
        same = found["gate"].safety.model_copy(update={"pre": "after"})
        assert found["no-pre-gate"].safety == same, "nothing else differs"
        assert found["beam-3"].engine.candidates == 3
        assert found["beam-3"].safety.post.kind == "head"
        assert not load_scenario(file).scenario.safety.on
