"""Reads what a sweep is to vary: from a sweep file, from options, from a scenario's `sweep:`."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kaiju_sim.errors import UserError
from kaiju_sim.scenario.explain import flow
from kaiju_sim.scenario.reading.problems import nearest
from kaiju_sim.scenario.reading.reader import parse, read_file
from kaiju_sim.scenario.tree import Node, Origin
from kaiju_sim.sweep.spec import Spec, axes_of, axis_of, range_of, ranges_of

KEYS: Final = (
    "scenario",
    "with",
    "set",
    "grid",
    "sobol",
    "points",
    "sample_seed",
    "replications",
)
"""Keys of a sweep file."""


def read_spec(path: Path) -> Spec:
    """The spec in a sweep file, or of a scenario with its own `sweep:` (which may have none).

    A sweep file is a YAML mapping with the key `scenario`. UserError with file and line.
    """
    tree = read_file(path, os.fspath(path))
    if not isinstance(tree.value, dict) or "scenario" not in tree.value:
        stated = tree.value.get("sweep") if isinstance(tree.value, dict) else None
        return Spec(path, grid=axes_of(_mapping(stated)) if stated else ())
    found: dict[str, Node] = tree.value
    for key, node in found.items():
        if key not in KEYS:
            allowed = f"{nearest(key, KEYS)} (allowed here: {', '.join(KEYS)})"
            raise UserError(f"unknown key {key}{allowed}", *node.origin[:2])
    return Spec(
        _scenario(found["scenario"], path),
        overrides=tuple(_words(found.get("with"))),
        sets=tuple(f"{key}={flow(node.plain())}" for key, node in _part(found, "set").items()),
        grid=axes_of(_part(found, "grid")),
        ranges=ranges_of(_part(found, "sobol")),
        points=_count(found, "points", 0),
        sample_seed=_count(found, "sample_seed", 1),
        replications=_count(found, "replications", 1),
    )


def with_options(spec: Spec, grids: Sequence[str], sobols: Sequence[str]) -> Spec:
    """The spec with what `--grid` and `--sobol` say; they replace a range or axis of that path."""
    axes = [axis_of(*_option("--grid", text, f"[{_after(text)}]")) for text in grids]
    ranges = [range_of(*_option("--sobol", text, _ends(text))) for text in sobols]
    paths = {*(axis.path for axis in axes), *(part.path for part in ranges)}
    return replace(
        spec,
        grid=(*(axis for axis in spec.grid if axis.path not in paths), *axes),
        ranges=(*(part for part in spec.ranges if part.path not in paths), *ranges),
    )


def _scenario(node: Node, sweep_file: Path) -> Path:
    """The file that `scenario` names: from the sweep file's folder, or a shipped one's name."""
    name = node.value
    if not isinstance(name, str) or not name or "\0" in name:
        raise UserError(
            "scenario must be a scenario file, or a shipped one's name", *node.origin[:2]
        )
    beside = Path(os.path.normpath(sweep_file.parent / name))
    shipped = Path("scenarios") / f"{name}.yaml"
    for path in (beside, beside.with_name(f"{beside.name}.yaml"), shipped):
        if path.is_file():
            return path
    raise UserError(f"scenario: no such file: {beside}", *node.origin[:2])


def _part(found: dict[str, Node], key: str) -> dict[str, Node]:
    return _mapping(found[key]) if key in found else {}


def _mapping(node: Node) -> dict[str, Node]:
    if not isinstance(node.value, dict):
        raise UserError("must be a mapping from dotted paths to values", *node.origin[:2])
    return node.value


def _words(node: Node | None) -> list[str]:
    """Names of overrides."""
    words: Any = [] if node is None else node.plain()
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        origin = Origin() if node is None else node.origin
        raise UserError("with must be a list of names of overrides", *origin[:2])
    return words


def _count(found: dict[str, Node], key: str, default: int) -> int:
    node = found.get(key)
    if node is None:
        return default
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise UserError(f"{key} must be a whole number from 1, not {value!r}", *node.origin[:2])
    return value


def _option(name: str, text: str, value: str) -> tuple[str, Node]:
    """Path and value of an option PATH=VALUE."""
    source = Origin(via=f"{name} {text if len(text) <= 80 else text[:77] + '...'}")
    path, equals, _ = text.partition("=")
    if not equals or not path.strip() or not _after(text):
        raise UserError(f"{source.via}: write PATH=VALUES, such as fleet.replicas=[48,56]")
    return path.strip(), parse(value, source)


def _after(text: str) -> str:
    """What stands after the equals sign, without the brackets of a list."""
    value = text.partition("=")[2].strip()
    return value[1:-1] if value.startswith("[") and value.endswith("]") else value


def _ends(text: str) -> str:
    """LOW..HIGH or LOW..HIGH:log as a mapping."""
    ends, _, scale = _after(text).partition(":")
    low, dots, high = ends.partition("..")
    if not dots:
        raise UserError(f"--sobol {text[:80]}: write PATH=LOW..HIGH or PATH=LOW..HIGH:log")
    return f"{{low: {low}, high: {high}, scale: {scale or 'linear'}}}"
