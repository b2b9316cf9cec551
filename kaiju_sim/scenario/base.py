"""The base of every scenario part: strict, frozen, documented by the sentence under each field.

Below it, how to look into the parts: which keys they have, what a dotted path leads to.
"""

import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from kaiju_sim.scenario.quantities import Quantity


class Part(BaseModel):
    """A frozen part of a scenario; unknown keys are errors, values are never coerced."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=False,
    )


Parts = tuple[type[Part], ...]
"""What a mapping may be: one part, or the variants of a union; empty if it is not a part."""

NO_PARTS: Final[Parts] = ()


def parts_of(annotation: Any) -> Parts:
    """The parts that *annotation* allows, in order."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return (annotation,)
    return tuple(part for arg in _members(annotation) for part in parts_of(arg))


def fields_of(parts: Parts) -> dict[str, FieldInfo]:
    """The keys of *parts*; of a key that several variants have, the first one's field."""
    found: dict[str, FieldInfo] = {}
    for part in parts:
        for key, field in part.model_fields.items():
            found.setdefault(key, field)
    return found


def child_parts(parts: Parts, key: str) -> Parts:
    """What the mapping under *key* may be."""
    fields = (part.model_fields.get(key) for part in parts)
    return tuple(p for field in fields if field is not None for p in parts_of(field.annotation))


def find_field(parts: Parts, path: Iterable[str]) -> FieldInfo | None:
    """The field at *path* (keys), or None where there is none."""
    field = None
    for key in path:
        field = fields_of(parts).get(key)
        if field is None:
            return None
        parts = parts_of(field.annotation)
    return field


def all_paths(parts: Parts, prefix: str = "") -> Iterator[str]:
    """Every dotted path below *parts*, blocks and values, in schema order."""
    for key, field in fields_of(parts).items():
        yield prefix + key
        yield from all_paths(parts_of(field.annotation), f"{prefix}{key}.")


def quantity_of(field: FieldInfo | None) -> Quantity | None:
    """The quantity that a field holds, if it carries a unit."""
    if field is None:
        return None
    return next(_quantities([*field.metadata, field.annotation]), None)


def is_open_mapping(field: FieldInfo | None) -> bool:
    """Whether a field is a mapping with keys of its own choice (`sweep`)."""
    return field is not None and get_origin(field.annotation) in (dict, Mapping)


def choices_of(field: FieldInfo | None) -> tuple[Any, ...]:
    """The literal values that a field allows, in order."""
    return () if field is None else tuple(_literals(field.annotation))


def _literals(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    for arg in _members(annotation):
        yield from _literals(arg)


def _quantities(things: Iterable[Any]) -> Iterator[Quantity]:
    for thing in things:
        if isinstance(thing, Quantity):
            yield thing
        yield from _quantities([*_members(thing), *getattr(thing, "__metadata__", ())])


def _members(annotation: Any) -> tuple[Any, ...]:
    """What is inside a union, an annotated type or a tuple type."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType, tuple) or hasattr(annotation, "__metadata__"):
        return get_args(annotation)[: 1 if hasattr(annotation, "__metadata__") else None]
    return ()
