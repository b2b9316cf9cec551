"""Says what is wrong with a scenario: where, which key or value, and what would be right."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from kaiju_sim.errors import UserError
from kaiju_sim.scenario.base import (
    NO_PARTS,
    Parts,
    all_paths,
    child_parts,
    choices_of,
    fields_of,
    find_field,
    is_open_mapping,
    parts_of,
    quantity_of,
)
from kaiju_sim.scenario.tree import Node, Origin, dotted

MAX_KEYS_LISTED: Final = 14
"""Allowed keys are listed up to this many."""

Path = tuple[str | int, ...]


class Problem(NamedTuple):
    """One thing that is wrong, and where it was stated."""

    origin: Origin
    message: str


def raise_first(problems: Sequence[Problem], main: str) -> None:
    """UserError for the first problem, by file (the scenario's own first) and line, if any."""
    if not problems:
        return
    origin, message = min(problems, key=lambda p: _order(p.origin, main))
    more = len(problems) - 1
    if more:
        message += f" (and {more} more error{'s' if more > 1 else ''})"
    if origin.file is None and origin.via.startswith("--"):
        raise UserError(f"{origin.via}: {message}")
    raise UserError(message, origin.file or main, origin.line or 1)


def _order(origin: Origin, main: str) -> tuple[bool, bool, str, int]:
    return (origin.file is None, origin.file != main, origin.file or "", origin.line or 0)


# --- keys -----------------------------------------------------------------------------------------


def unknown_keys(
    node: Node, root: Parts, parts: Parts, path: Path = (), *, also: Sequence[str] = ()
) -> Iterator[Problem]:
    """Keys below *node* (at *path*, which may be any of *parts*) that no scenario has.

    *also* are keys that the caller took out before, for the hint.
    """
    if not isinstance(node.value, dict) or not parts:
        return
    fields = fields_of(parts)
    for key, child in node.value.items():
        here = (*path, key)
        if key not in fields:
            yield Problem(child.origin, unknown_key(here, [*fields, *also], root))
        elif is_open_mapping(fields[key]):
            yield from _unknown_paths(child, root, here)
        else:
            yield from unknown_keys(child, root, child_parts(parts, key), here)


def _unknown_paths(node: Node, root: Parts, path: Path) -> Iterator[Problem]:
    """Keys of `sweep`, which are dotted paths themselves, that lead nowhere."""
    for key, child in node.value.items() if isinstance(node.value, dict) else ():
        if find_field(root, key.split(".")) is None:
            hint = nearest(key, list(all_paths(root)))
            yield Problem(child.origin, f"{dotted(path)}: no such path {key!r}{hint}")


def unknown_key(path: Path, allowed: Iterable[str], root: Parts) -> str:
    """The message for a key that is not there: the nearest one, and the allowed ones if few."""
    keys = list(allowed)
    hint = nearest(str(path[-1]), keys)
    if not hint:
        same = [p for p in all_paths(root) if p.split(".")[-1] == path[-1]]
        hint = f"; did you mean {same[0]}?" if same else ""
    listed = f" (allowed here: {', '.join(keys)})" if len(keys) <= MAX_KEYS_LISTED else ""
    return f"unknown key {dotted(path)}{hint}{listed}"


def nearest(word: str, allowed: Iterable[Any]) -> str:
    """A hint at the allowed name that is most like *word*, if one is."""
    close = difflib.get_close_matches(word[:100], [str(a) for a in allowed], n=1)
    return f"; did you mean {close[0]}?" if close else ""


# --- values ---------------------------------------------------------------------------------------


def of_validation(error: ValidationError, tree: Node, root: Parts) -> list[Problem]:
    """The problems that pydantic found in the merged *tree*, one for each path."""
    by_path: dict[Path, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        path = _real_path(details, tree)
        if not (details["type"] == "too_short" and _has_items_wrong(path, by_path)):
            by_path.setdefault(path, []).append(details)
    return [_problem(path, group, tree, root) for path, group in by_path.items()]


def _has_items_wrong(path: Path, found: Iterable[Path]) -> bool:
    """Whether items of a list were found wrong: pydantic calls the list too short without them."""
    return any(other[:-1] == path for other in found)


def _real_path(details: ErrorDetails, tree: Node) -> Path:
    """pydantic's location without the union members that it puts between the keys."""
    path: Path = ()
    for step in details["loc"]:
        if tree.at((*path, step)) is not None:
            path = (*path, step)
    if details["type"] == "missing":
        path = (*path, details["loc"][-1])
    elif details["type"].startswith("union_tag") and tree.at((*path, "kind")) is not None:
        path = (*path, "kind")
    return path


def _problem(path: Path, group: list[ErrorDetails], tree: Node, root: Parts) -> Problem:
    node = tree.at(path)
    if node is None:  # a missing key: the block that lacks it
        origin = (tree.at(path[:-1]) or tree).origin
        return Problem(origin, f"missing key {dotted(path)}")
    field = find_field(root, [step for step in path if isinstance(step, str)])
    if group[0]["type"] == "extra_forbidden":
        return Problem(node.origin, _extra(path, tree, root))
    message = _wrong_value(path, group, node, field)
    return Problem((node if path else _named(message, tree)).origin, message)


def _named(message: str, tree: Node) -> Node:
    """The value that a message about the whole scenario begins with, if it is stated; else all."""
    words = message.split(maxsplit=1)[:1]
    return tree.at(tuple(words[0].split("."))) or tree if words else tree


def _extra(path: Path, tree: Node, root: Parts) -> str:
    """A key of another variant of a union, or of a part in a list (others were found before)."""
    outer = find_field(root, [step for step in path[:-1] if isinstance(step, str)])
    kind = tree.at((*path[:-1], "kind"))
    variants = parts_of(outer.annotation) if outer is not None else NO_PARTS
    kinds = [p for p in variants if "kind" in p.model_fields]
    if not kinds:
        return unknown_key(path, fields_of(variants), variants)
    named = tuple(p for p in kinds if not kind or kind.value in choices_of(p.model_fields["kind"]))
    message = unknown_key(path, fields_of(named), named)
    return f"{message} for kind {kind.value}" if kind else message


def _wrong_value(path: Path, group: list[ErrorDetails], node: Node, field: FieldInfo | None) -> str:
    clauses = [str(e["ctx"]["error"]) for e in group if e["type"] == "value_error"]
    if clauses:
        place = dotted(path)
        literal = " or ".join(repr(choice) for choice in choices_of(field))
        clause = clauses[0] + (f", or {literal}" if literal and quantity_of(field) else "")
        stated = not place or clause.startswith(f"{place}.")
        return clause if stated else f"{place}: {clause}"
    wanted = list(dict.fromkeys(_expectation(e, field) for e in group))
    shown = "empty" if node.value is None else _shown(node)
    hint = nearest(node.value, _choices(group[0], field)) if isinstance(node.value, str) else ""
    return f"{dotted(path)} must be {' or '.join(wanted)}, not {shown}{hint}"


def _choices(error: ErrorDetails, field: FieldInfo | None) -> Sequence[Any]:
    tags = str(error.get("ctx", {}).get("expected_tags", ""))
    return re.findall("'([^']*)'", tags) or choices_of(field)


_PHRASES: Final = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "text (in quotes if it looks like a number)",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
    "union_tag_not_found": "a mapping with a kind",
}

_BOUNDS: Final = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def _expectation(error: ErrorDetails, field: FieldInfo | None) -> str:
    """What would have been right, to stand after "must be"."""
    kind, context = error["type"], error.get("ctx", {})
    quantity = quantity_of(field)
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        bound = context[name]
        return f"{words} {quantity.show(bound) if quantity else f'{bound:,.15g}'.replace(',', '_')}"
    if kind == "float_type":
        return f"a {quantity.name} such as {quantity.example}" if quantity else _PLAIN_NUMBER
    if kind in ("literal_error", "union_tag_invalid"):
        choices = str(context.get("expected") or context.get("expected_tags"))
        return choices if " " not in choices else f"one of {choices}"
    if kind in ("too_short", "too_long"):
        return _count(context, "values")
    if kind in ("string_too_short", "string_too_long"):
        return _count(context, "characters")
    return _PHRASES.get(kind, error["msg"])


_PLAIN_NUMBER: Final = "a number (without a unit or quotes)"


def _count(context: dict[str, Any], what: str) -> str:
    if "min_length" in context:
        return f"at least {context['min_length']} {what} long"
    return f"at most {context['max_length']} {what} long"


def _shown(node: Node) -> str:
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return f"a list of {len(node.value)}"
    text = str(node.value).lower() if isinstance(node.value, bool) else repr(node.value)
    return text if len(text) <= 60 else text[:57] + "..."
