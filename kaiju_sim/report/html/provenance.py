"""Where a report comes from: versions, seed, hashes. What differs from one machine or moment to
the next is left to provenance.json, so that the same run gives the same report.
"""

from typing import Any

import kaiju_sim
from kaiju_sim.report import headline
from kaiju_sim.report.format import MISSING, percent
from kaiju_sim.report.html import page
from kaiju_sim.report.provenance import text_hash
from kaiju_sim.report.rundir import RunDirectory

_REST = "Machine, package versions, command and wall-clock times: provenance.json of the run."


def rows_of(run: RunDirectory) -> list[tuple[str, str]]:
    """What is known of the run's origin, as pairs of words."""
    found, s = run.provenance, run.summary
    package, profile = found.get("package") or {}, found.get("profile") or {}
    share = s.get("results.sample_share")
    return [
        ("Simulator", f"Kaiju fleet planner {package.get('version') or kaiju_sim.__version__}"),
        ("Commit", _commit(package)),
        ("Seed", _shown(found.get("seed"))),
        ("Replications", _shown(s.get("run.replications"))),
        ("Step times", f"{headline.source(s)}; {headline.source_note(s)}"),
        ("SHA-256 of the step-time curves", _shown(profile.get("sha256"))),
        ("SHA-256 of scenario.yaml", text_hash(run.scenario_yaml)),
        ("Messages kept in requests.parquet", MISSING if share is None else percent(share)),
    ]


def _commit(package: dict[str, Any]) -> str:
    changed = ", with changes" if package.get("modified") else ""
    return f"{package['commit']}{changed}" if package.get("commit") else MISSING


def _shown(value: Any) -> str:
    return MISSING if value is None else str(value)


def section(run: RunDirectory) -> str:
    """The part of the report."""
    rows = [[page.escape(cell) for cell in row] for row in rows_of(run)]
    table = page.table(("", ""), rows, ("name", ""))
    note = f'<p class="note">{page.escape(_REST)}</p>\n'
    return f'<h2>Provenance</h2>\n<div class="panel">{table}{note}</div>\n'
