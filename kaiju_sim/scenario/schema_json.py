"""The scenario format for editors (JSON schema) and for readers (docs/scenario.md), generated.

Both come from the models: a field's type, default and the sentence under it. Files may state any
part of a scenario, since the rest may come from a parent or from the defaults, so the JSON schema
requires no key below the top level.
"""

import inspect
import json
from collections.abc import Iterator
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from kaiju_sim.scenario.assumed import Assumed, AssumedShare
from kaiju_sim.scenario.base import Part, parts_of, quantity_of
from kaiju_sim.scenario.explain import flow
from kaiju_sim.scenario.parts.faults import FAULTS
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.scenario.traffic import Sessions

_EXTENDS: Final = {
    "type": "string",
    "minLength": 1,
    "description": "Parent scenario, relative to this file; what is stated here wins.",
}
_OVERRIDES: Final = {
    "type": "object",
    "additionalProperties": {"$ref": "#/$defs/Overrides"},
    "description": "Named changes, chosen with `--with NAME`.",
}


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of scenario files."""
    schema = _partial(Scenario.model_json_schema())
    keys = schema["properties"]
    definitions = schema["$defs"]
    definitions["Overrides"] = _mapping(keys, "Changes to a scenario.")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Kaiju fleet planner scenario",
        **_mapping({"extends": _EXTENDS, **keys, "overrides": _OVERRIDES}, "A scenario file."),
        "anyOf": [{"required": ["extends"]}, {"required": ["schema_version", "name", "traffic"]}],
        "$defs": definitions,
    }


def json_schema_text() -> str:
    """The content of scenarios/schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _mapping(properties: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _partial(schema: Any) -> Any:
    """*schema* without required keys, titles and defaults; unions by kind become `anyOf`."""
    if isinstance(schema, list):
        return [_partial(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    is_object = schema.get("type") == "object"
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {name: _partial(child) for name, child in value.items()}
        elif key == "oneOf":
            kept["anyOf"] = _partial(value)
        elif key not in ("title", "default", "discriminator") and not (
            is_object and key == "required"
        ):
            kept[key] = _partial(value)
    return kept


# --- docs/scenario.md -----------------------------------------------------------------------------

_INTRODUCTION: Final = """\
# Scenario reference

Generated from the schema by `kaiju-sim schema --docs`; do not edit.

A scenario is a YAML file (1.2, core schema). Every key has a default except `schema_version`,
`name` and `traffic`; unknown keys are errors. Where several sources state a value, the later one
wins:

1. the defaults below,
2. the parent: `extends: other.yaml`, relative to the file, which may have a parent in turn,
3. the file itself,
4. named blocks under `overrides:`, chosen with `--with NAME`, in the order chosen,
5. `--set path=value`, such as `--set fleet.replicas=12`; the value is YAML.

Mappings merge key by key, lists replace, and a distribution of another `kind` replaces the one
before it. `kaiju-sim run FILE --explain` prints every value and where it was stated.

Quantities carry a unit: times `500ms`, `1.5 s`, `60min`, `2h`, `1d` (ns, us, ms, s, min, h, d);
sizes `80GiB` or `80GB`; prices `2.35 USD/h`, `10 USD/month`. A bare number there is an error.
Counts (tokens, turns) are plain numbers, shares are 0 to 1. An empty default means that the key
must be given.
"""

_TIMES: Final = """\
For a time (`traffic.sessions.think`) the kinds are the same except `geometric`, and the values are
times with units, such as `48s`.
"""


_ASSUMED: Final = """\
What nobody has measured is given with its range, source and grade (P primary, R reported,
I inferred, U unsupported), and `kaiju-sim economics` moves it through the range. A table's default
is the value, with the range, grade and source in brackets; `--set PATH.value=...` changes the value
alone, and must stay in the range unless `low` and `high` are given too.
"""


def reference() -> str:
    """The content of docs/scenario.md."""
    counts = parts_of(Sessions.model_fields["turns"].annotation)
    sections = [_INTRODUCTION, *_sections("", Scenario)]
    sections.append(f"## Distributions\n\n{_TIMES}")
    sections += [_section(f"`kind: {_kind(part)}`", part, level=3) for part in counts]
    sections += [
        "## Faults\n\nKinds of `incidents.fault`; docs/incidents.md says what each does.\n"
    ]
    sections += [_section(f"`kind: {_kind(part)}`", part, level=3) for part in FAULTS]
    sections += [f"## Assumed values\n\n{_ASSUMED}", _section("Keys of one", Assumed, level=3)]
    return "\n".join(sections)


def _sections(path: str, part: type[Part]) -> Iterator[str]:
    """The table of a part, then those of the parts in it; unions have a section of their own."""
    yield _section(f"`{path}`" if path else "Top level", part)
    for key, field in part.model_fields.items():
        inner = parts_of(field.annotation)
        if len(inner) == 1 and not issubclass(inner[0], Assumed):
            yield from _sections(f"{path}.{key}".removeprefix("."), inner[0])


def _section(title: str, part: type[Part], level: int = 2) -> str:
    rows = [_row(key, field) for key, field in part.model_fields.items()]
    head = ["| key | type | default | meaning |", "|---|---|---|---|"]
    summary = inspect.cleandoc(part.__doc__ or "")
    return "\n".join([f"{'#' * level} {title}", "", summary, "", *head, *rows, ""])


def _row(key: str, field: FieldInfo) -> str:
    meaning = " ".join((field.description or "").split())
    cells = (f"`{key}`", _type(field), _default(field), meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.default
    if isinstance(value, Assumed):
        return f"`{value.value:g}` ({value.low:g} to {value.high:g}; {value.grade}: {value.source})"
    if isinstance(value, Part):
        many = len(parts_of(field.annotation)) > 1
        return (
            f"`{flow(value.model_dump(mode='json', exclude_none=True))}`" if many else "see below"
        )
    quantity = quantity_of(field)
    if quantity and isinstance(value, int | float):
        return f"`{quantity.show(value)}`"
    return "none" if value is None else f"`{flow(value)}`"


def _kind(part: type[Part]) -> str:
    return str(get_args(part.model_fields["kind"].annotation)[0])


def _type(field: FieldInfo) -> str:
    """The type of a field as readers know it, with its range."""
    inner = parts_of(field.annotation)
    if inner and issubclass(inner[0], Assumed):
        return "assumed share" if inner[0] is AssumedShare else "assumed value"
    if inner and get_origin(field.annotation) is tuple:
        return "list of mappings"
    if inner == FAULTS:
        return "mapping, by `kind`"
    if inner:
        return "distribution" if len(inner) > 1 else "mapping"
    quantity = quantity_of(field)
    names = list(dict.fromkeys(_names(field.annotation, quantity.name if quantity else "")))
    return " or ".join(names) + _range(field)


_TYPE_NAMES: Final = {int: "whole number", float: "number", bool: "true or false", str: "text"}


_ITEMS: Final = {int: "whole numbers", float: "numbers"}


def _names(annotation: Any, quantity: str) -> Iterator[str]:
    origin = get_origin(annotation)
    if origin is Literal:
        yield ", ".join(f"`{flow(choice)}`" for choice in get_args(annotation))
    elif origin is tuple:
        item = _ITEMS.get(get_args(annotation)[0], "names")
        yield f"list of {quantity}s" if quantity else f"list of {item}"
    elif origin is dict:
        yield "mapping of paths to lists"
    elif hasattr(annotation, "__metadata__"):
        yield from _names(get_args(annotation)[0], quantity)
    elif origin is Union or get_args(annotation):
        for arg in get_args(annotation):
            yield from _names(arg, quantity)
    elif annotation in (int, float) and quantity:
        yield quantity
    elif annotation in _TYPE_NAMES:
        yield _TYPE_NAMES[annotation]


_SIGNS: Final = {"gt": "> ", "ge": ">= ", "lt": "< ", "le": "<= "}


def _range(field: FieldInfo) -> str:
    """The bounds of a plain number, such as ", >= 1, <= 4000"."""
    if quantity_of(field):
        return ""
    bounds = [
        f"{sign}{getattr(rule, name):,.15g}".replace(",", "_")
        for rule in field.metadata
        for name, sign in _SIGNS.items()
        if getattr(rule, name, None) is not None
    ]
    return "".join(f", {bound}" for bound in bounds)
