"""Claims and their inputs, as the tables beside this file state them.

`inputs.yaml` has every number with unit, source and grade; `claims/*.yaml` have the claims. Both
are strict: an unknown key, a formula with an unknown name or an unknown source is an error.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import Field, model_validator
from ruamel.yaml import YAML

from kaiju_sim.audit.formula import Value, parsed
from kaiju_sim.audit.verdict import Against, Grade, Relation
from kaiju_sim.catalog.table import Entry

TOPICS = ("traffic", "compute", "memory", "design", "money", "safety", "published")
"""Files of claims, in no order that matters: rows are ordered by id."""
GRANTED = "case-study"
"""Source of what the text itself states."""


class Input(Entry):
    """A named number (or text) that formulas use."""

    value: Value | None = None
    """What it is; or else `computed`."""
    computed: str | None = None
    """A formula that gives it, from other inputs or from the simulator's catalog and step times."""
    unit: str = ""
    """Unit; empty for a plain number or a text."""
    source: str
    """Key of a source."""
    note: str = ""
    """Which place in it, or what the figure is."""
    grade: Grade
    """How good the source is for this figure."""

    @model_validator(mode="after")
    def _one(self) -> "Input":
        if (self.value is None) == (self.computed is None):
            raise ValueError("give either value or computed")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Inputs that it is computed from."""
        return () if self.computed is None else parsed(self.computed).names


class Part(Entry):
    """One judgement about a claim; `verdict.py` says what each kind is held against."""

    says: str
    """What is stated, in words."""
    against: Against = "formula"
    """What it is held against."""
    stated: float | str
    """A number, or a formula (texts stand in quotes); for `unit` and `premise` an input's name."""
    formula: str | None = None
    """What it is compared with; for a premise what is known instead, if anything."""
    relation: Relation = "is"
    """How stated should stand to the formula's value."""
    within: float = Field(default=0.01, ge=0, lt=1)
    """Relative tolerance: what a rounded figure may differ by."""
    unit: str = ""
    """Unit of both; for `unit` the one that is needed."""
    remark: bool = False
    """Beside the point: does not decide the claim's verdict."""

    @model_validator(mode="after")
    def _complete(self) -> "Part":
        named = self.against in ("unit", "premise")
        if self.against == "unit" if self.formula is not None else not named:
            raise ValueError(f"{self.against}: formula is for the other kinds, or missing")
        if named and not str(self.stated).isidentifier():
            raise ValueError(f"{self.against}: stated must be an input's name")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Inputs that it uses."""
        texts = [text for text in (self.stated, self.formula) if isinstance(text, str)]
        return tuple(dict.fromkeys(name for text in texts for name in parsed(text).names))


class Corrected(Entry):
    """A figure that would be right, or that puts the claim in proportion."""

    says: str
    """What it is."""
    formula: str
    """How it comes about."""
    unit: str = ""
    """Its unit."""


class Claim(Entry):
    """One claim: what it says, how it is judged, and what would be right."""

    id: str
    """1 to 52 as numbered in the case study's audit; P1 and so on for published claims."""
    claim: str
    """What it says."""
    parts: tuple[Part, ...] = Field(min_length=1)
    """Judgements, the most important one first."""
    corrected: tuple[Corrected, ...] = ()
    """Corrected figures."""

    @model_validator(mode="after")
    def _led(self) -> "Claim":
        if self.parts[0].remark:
            raise ValueError(f"claim {self.id}: its first part must not be a remark")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Inputs that any part or corrected figure uses."""
        used = [name for part in self.parts for name in part.names]
        used += [name for c in self.corrected for name in parsed(c.formula).names]
        return tuple(dict.fromkeys(used))


def with_parts(names: Sequence[str], inputs: Mapping[str, Input]) -> tuple[str, ...]:
    """These inputs and all that they are computed from; KeyError for one that is missing."""
    found: dict[str, None] = {}
    for name in names:
        if name not in found:
            found[name] = None
            found |= dict.fromkeys(with_parts(inputs[name].names, inputs))
    return tuple(found)


def values_of(names: Sequence[str], inputs: Mapping[str, Input]) -> dict[str, Value]:
    """The inputs' values, those that are computed from others included."""
    values: dict[str, Value] = {}
    for name in names:
        known = inputs[name]
        if known.computed is None:
            assert known.value is not None
            values[name] = known.value
        else:
            values[name] = parsed(known.computed).value(values_of(known.names, inputs))
    return values


@cache
def all_inputs() -> Mapping[str, Input]:
    """Every input by name."""
    return {name: Input(**row) for name, row in _table("inputs")["inputs"].items()}


@cache
def all_sources() -> Mapping[str, str]:
    """Every source by key: author, title, address, date."""
    return dict(_table("inputs")["sources"])


@cache
def all_claims() -> tuple[Claim, ...]:
    """Every claim, in order of id: the case study's, then the published ones."""
    claims = [_claim(row) for topic in TOPICS for row in _table(f"claims/{topic}")]
    return tuple(sorted(claims, key=_place))


def _place(claim: Claim) -> tuple[bool, int]:
    return (not claim.id.isdigit(), int(claim.id.lstrip("P")))


def _claim(row: dict[str, Any]) -> Claim:
    parts = tuple(Part(**part) for part in row.pop("parts"))
    corrected = tuple(Corrected(**item) for item in row.pop("corrected", ()))
    return Claim(parts=parts, corrected=corrected, **row)


def _table(name: str) -> Any:
    text = files("kaiju_sim.audit").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return YAML(typ="safe", pure=True).load(text)
