"""`python -m calibrate refit NAME`: the profile again, from the samples in the repository.

The last line on stdout is one JSON object: all of the profile but its curves. With `--write` the
profile is written to where the simulator finds it, as the measuring job does at its end.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibrate.fit.profile import refit
from kaiju_sim.errors import UserError
from kaiju_sim.report.atomic import write_file
from kaiju_sim.steptime.profile import ErrorSummary, Profile, profile_json

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "calibrate" / "samples"
SHIPPED = ROOT / "kaiju_sim" / "catalog" / "measured"


def block(profile: Profile) -> dict[str, Any]:
    """What a profile says of itself: everything but the curves."""
    found: dict[str, Any] = json.loads(profile_json(profile))
    del found["curves"]
    return found


def write_profile(profile: Profile, shipped: Path = SHIPPED) -> Path:
    """Write the profile into the package; the file's path."""
    file = shipped / profile.id / "profile.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, profile_json(profile).encode())
    return file


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m calibrate refit", description=__doc__)
    parser.add_argument("name", help="folder in calibrate/samples, or a path to one")
    parser.add_argument("--write", action="store_true", help="write the profile into the package")
    chosen = parser.parse_args(arguments)
    try:
        profile = refit(_folder(chosen.name))
        if chosen.write:
            sys.stderr.write(f"written to {write_profile(profile)}\n")
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{_table(profile)}{json.dumps(block(profile))}\n")
    return 0


def _folder(name: str) -> Path:
    folder = Path(name) if "/" in name else SAMPLES / name
    if not folder.is_dir():
        known = ", ".join(sorted(p.name for p in SAMPLES.glob("*") if p.is_dir())) or "none"
        raise UserError(f"no samples of that name: {name[:80]} (there are: {known})")
    return folder


def _table(profile: Profile) -> str:
    """Held-out errors for people."""
    assert profile.heldout is not None, "a measured profile has them"
    lines = [f"{'held-out steps':<16}{'n':>6}{'median':>10}{'p95':>10}{'bias':>10}"]
    rows = {"all": profile.heldout, **profile.heldout_by_kind}
    lines += [_row(kind, error) for kind, error in rows.items()]
    return "\n".join(lines) + "\n"


def _row(kind: str, error: ErrorSummary) -> str:
    shares = (error.median_abs_rel_error, error.p95_abs_rel_error, error.bias)
    return f"{kind:<16}{error.n:>6}" + "".join(f"{share:>10.2%}" for share in shares)


if __name__ == "__main__":
    sys.exit(main())
