"""Writes resolved scenarios: as YAML that loads again, and with the origin of each value."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from kaiju_sim.scenario.assumed import Assumed
from kaiju_sim.scenario.reading.reader import is_text
from kaiju_sim.scenario.tree import dotted

if TYPE_CHECKING:
    from kaiju_sim.scenario.loader import Loaded

_PLAIN_TEXT = re.compile(r"[A-Za-z0-9_./][\w./()%+-]*( [\w./()%+-]+)*", re.ASCII)


class Explained(NamedTuple):
    """A value of a resolved scenario and where it was stated."""

    path: str
    value: Any
    origin: str


def explain(loaded: "Loaded") -> list[Explained]:
    """Every value of the scenario in schema order, as YAML would have it, with its origin."""
    rows = ((dotted(path), value) for path, value in leaves(loaded.resolved))
    return [Explained(path, value, loaded.origins[path]) for path, value in rows]


def render(loaded: "Loaded") -> str:
    """The resolved scenario as YAML with each value's origin as a comment beside it."""
    lines = [
        (f"{'  ' * depth}{text}", loaded.origins.get(dotted(path), ""))
        for depth, path, text in _lines(loaded.resolved, ())
    ]
    width = min(60, max(len(text) for text, _ in lines))
    rows = (f"{text:<{width}}  # {origin}" if origin else text for text, origin in lines)
    return "\n".join(rows) + "\n"


def to_yaml(resolved: Mapping[str, Any]) -> str:
    """The resolved values as YAML that the loader reads back."""
    return "".join(f"{'  ' * depth}{text}\n" for depth, _, text in _lines(resolved, ()))


def leaves(
    values: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and value of everything that is not a mapping with keys."""
    for key, value in values.items():
        if is_block(value):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def is_block(value: Any) -> bool:
    """Whether a value has lines of its own below its key: an assumed value stands on one line."""
    return isinstance(value, dict) and bool(value) and value.keys() != Assumed.model_fields.keys()


def _lines(
    values: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[int, tuple[str, ...], str]]:
    """Depth, path and text of each line."""
    for key, value in values.items():
        here = (*path, key)
        if is_block(value):
            yield len(path), here, f"{flow(key)}:"
            yield from _lines(value, here)
        else:
            yield len(path), here, f"{flow(key)}: {flow(value)}"


def flow(value: Any) -> str:
    """*value* as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, str):
        plain = _PLAIN_TEXT.fullmatch(value) and is_text(value)
        return value if plain else _quoted(value)
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _quoted(text: str) -> str:
    """A double-quoted scalar; what cannot be printed is escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
