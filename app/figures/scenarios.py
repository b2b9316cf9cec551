"""Shipped scenarios by name, and texts that a user has written: checked before they are loaded."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

import kaiju_sim
from kaiju_sim.errors import UserError
from kaiju_sim.scenario.loader import Loaded, load_scenario

ROOT = Path(kaiju_sim.__file__).resolve().parents[1]
SHIPPED = ("baseline", "teen_peak", "published", "unit_economics", "case_study")
"""Scenarios that the pages offer, the one that opens first."""
INCIDENTS = (
    *("incidents/replica_loss", "incidents/table_loss", "incidents/edit_storm"),
    *("incidents/bad_rollout", "incidents/viral", "incidents/retry_storm"),
    *("incidents/midnight", "incidents/cold_restart", "incidents/int8_drift"),
    *("incidents/persona_drift", "incidents/false_positives"),
)
"""Incidents that can be played."""
REPLAY = "replay"
"""The scenario that replays a trace."""
MOST_CHARACTERS = 40_000
"""Of a text; the longest shipped scenario has a quarter of it."""
MOST_ALIASES = 20
FILE_KEYS = ("extends", "file")
"""Keys that name files: a text that was typed may not."""


def path_of(name: str) -> Path:
    """The file of a shipped scenario; UserError for any other name."""
    if name not in (*SHIPPED, REPLAY, *INCIDENTS):
        raise UserError(f"no such scenario: {name[:40]!r}")
    return ROOT / "scenarios" / f"{name}.yaml"


@cache
def shipped(name: str) -> Loaded:
    """A shipped scenario as it is."""
    return load_scenario(path_of(name))


def loaded(name: str, sets: Sequence[str]) -> Loaded:
    """A shipped scenario with settings."""
    return load_scenario(path_of(name), sets=sets)


def check_text(text: str) -> None:
    """UserError for a text that is too long, no YAML, or that names a file."""
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"{len(text):,} characters: at most {MOST_CHARACTERS:,} are read")
    if text.count("*") > MOST_ALIASES:
        raise UserError("too many aliases: write the values out")
    try:
        tree = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None else mark.line + 1
        raise UserError(str(getattr(error, "problem", error)), "scenario", line) from error
    _check_files(tree)


def _check_files(tree: Any) -> None:
    """UserError where a key anywhere below names a file."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            path = key == "profile" and ("/" in str(value) or str(value).endswith(".json"))
            if key in FILE_KEYS or path:
                raise UserError(f"{key}: a scenario typed here cannot name a file")
            _check_files(value)
    elif isinstance(tree, list):
        for item in tree:
            _check_files(item)


def load_text(text: str, folder: Path) -> Loaded:
    """The scenario in a text, written to *folder* (a job's own) to be read by the loader."""
    check_text(text)
    file = folder / "typed.yaml"
    file.write_text(text, encoding="utf-8")
    return load_scenario(file)
