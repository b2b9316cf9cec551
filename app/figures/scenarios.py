"""Shipped scenarios by name, and texts that a user has written: checked before they are loaded."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

import kaiju_sim
from kaiju_sim.errors import UserError
from kaiju_sim.scenario.loader import Loaded, ScenarioFile, load_scenario

Source = Mapping[str, Any]
"""Where a scenario comes from: `scenario` (a shipped one's name) or `text`; `with`, `sets`."""
OVERRIDES, SETTINGS, TYPED = "with", "sets", "typed.yaml"
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


def loaded(name: str, sets: Sequence[str], overrides: Sequence[str] = ()) -> Loaded:
    """A shipped scenario with settings."""
    return load_scenario(path_of(name), overrides=overrides, sets=sets)


def file_of(source: Source, folder: Path) -> Path:
    """The scenario's file; a text is checked, and written to *folder* for the loader."""
    text = source.get("text")
    if not isinstance(text, str):
        return path_of(str(source.get("scenario")))
    check_text(text)
    file = folder / TYPED
    file.write_text(text, encoding="utf-8")
    return file


def load(source: Source, folder: Path) -> Loaded:
    """The scenario of a source with its overrides and settings."""
    overrides, sets = ([str(word) for word in source.get(key, ())] for key in (OVERRIDES, SETTINGS))
    return load_scenario(file_of(source, folder), overrides=overrides, sets=sets)


def of_source(source: Source, sets: Sequence[str] = ()) -> Loaded:
    """The same with more settings, for a look at it; what was looked at last is remembered."""
    overrides, own = (tuple(map(str, source.get(key, ()))) for key in (OVERRIDES, SETTINGS))
    text, name = source.get("text"), source.get("scenario")
    return _looked_at(text if isinstance(text, str) else None, name, overrides, (*own, *sets))


@lru_cache(maxsize=64)
def _looked_at(
    text: str | None, name: object, overrides: Sequence[str], sets: Sequence[str]
) -> Loaded:
    return _read(text, name).load(overrides, sets)


@lru_cache(maxsize=16)
def _read(text: str | None, name: object) -> ScenarioFile:
    """Reading is most of the time that loading takes, and a slider changes settings alone."""
    with tempfile.TemporaryDirectory() as folder:
        source: Source = {"scenario": name} if text is None else {"text": text}
        return ScenarioFile(file_of(source, Path(folder)))


def overrides_of(source: Source) -> list[str]:
    """Names of the overrides that a scenario has."""
    text = source.get("text")
    return _read(text if isinstance(text, str) else None, source.get("scenario")).override_names()


@cache
def text_of(name: str) -> str:
    """A shipped scenario as it can be edited: its own text; in full where it stands on another."""
    text = path_of(name).read_text(encoding="utf-8")
    return shipped(name).to_yaml() if "\nextends:" in text else text


def around(text: str, line: int) -> str:
    """The lines of a text about one that is wrong, which is marked."""
    lines = text.splitlines()
    first = max(0, line - 3)
    return "\n".join(
        f"{'>' if n == line else ' '} {n:4} {words}"
        for n, words in enumerate(lines[first : line + 2], first + 1)
    )


def check_text(text: str) -> None:
    """UserError for a text that is too long, no YAML, or that names a file."""
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"{len(text):,} characters: at most {MOST_CHARACTERS:,} are read")
    if text.count("*") > MOST_ALIASES:
        raise UserError("too many aliases: write the values out")
    _check_files(_parsed(text))


def check_setting(text: str) -> None:
    """UserError for a setting that is no `path=value`, or that names a file."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip() or not value.strip():
        raise UserError(f"{text[:60]!r}: write path=value, as in fleet.replicas=48")
    _check_files({path.strip().rpartition(".")[2]: _parsed(value)})


def _parsed(text: str) -> Any:
    """The text's tree; UserError with the line for what is no YAML."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None else mark.line + 1
        raise UserError(str(getattr(error, "problem", error)), "scenario", line) from error


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


def said(error: UserError) -> str:
    """A mistake with its line; of a file's path only the name, which is ours."""
    if error.file is None:
        return error.message
    return str(UserError(error.message, Path(error.file).name, error.line))
