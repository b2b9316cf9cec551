"""The audit with what is simulated: the claims about behaviour, held against runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.jobs.folder import shared, write_result
from app.jobs.work.progress import Teller
from app.jobs.work.runs import COMPILING
from kaiju_sim.audit.claim import all_claims
from kaiju_sim.audit.rows import audit_rows
from kaiju_sim.audit.simulated import simulate_claims
from kaiju_sim.audit.words import texts
from kaiju_sim.report.html.audit_page import audit_page
from kaiju_sim.simulation import is_warm

WORKERS = 2


def audit(folder: Path, task: Mapping[str, Any], told: Teller) -> None:
    """Simulate the claims of `only` (all that can be, if empty), with `replications`."""
    told(0.0, "simulating" if is_warm() else COMPILING)
    only = [str(name) for name in task["only"]] or None
    kept = shared() / "audit"
    kept.mkdir(parents=True, exist_ok=True)
    found = simulate_claims(
        kept,
        only=only,
        replications=int(task["replications"]),
        workers=WORKERS,
        progress=lambda share: told(share, "simulating what claims say"),
    )
    claims = [claim for claim in all_claims() if only is None or claim.id in only]
    rows = audit_rows(claims, simulated=found)
    page = audit_page([row | {"texts": texts(row)} for row in rows])
    write_result(folder, rows, page, {"audit.json": json.dumps(rows, indent=2).encode()})
