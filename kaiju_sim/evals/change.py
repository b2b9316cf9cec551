"""A change that is to pass the gates: another prompt format, another checkpoint, or both.

A change is a small YAML file. `prompt` lists the parts of the new prompt in order; `set` changes
values of the scenario, as `--set` does (a checkpoint with another cache size, a candidate whose
persona score is said to be lower). What a change does not mention stays as it is.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from kaiju_sim.errors import UserError
from kaiju_sim.scenario.base import Part
from kaiju_sim.scenario.quantities import (
    FROM_FILE,
    PositiveFraction,
    PositiveSeconds,
    as_tuple,
)
from kaiju_sim.scenario.reading.problems import nearest, of_validation, raise_first, unknown_keys
from kaiju_sim.scenario.reading.reader import parse, read_file
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.scenario.tree import Node, Origin

DAY_S = 86_400.0


class PromptPart(Part):
    """A part of a prompt."""

    part: str = Field(min_length=1, max_length=60)
    """Its name, in the tables."""
    source: Literal["text", "definition", "persona", "history"] = "text"
    """`text`: some text of a stated length; the others: what the scenario says of them."""
    share: PositiveFraction = 1.0
    """Of a definition or persona that is cut in pieces: this part's share of its tokens."""
    tokens: int = Field(default=0, ge=0, le=1_000_000)
    """Length of a text."""
    every: PositiveSeconds | None = None
    """A text is renewed at every multiple of this (a date: 24h); none: it stays."""
    per: Literal["character", "user", "message"] = "character"
    """Whose text it is: all users' of a character share it, each user has another one, or each
    message has (a request id)."""

    @model_validator(mode="after")
    def _whole(self) -> "PromptPart":
        if self.source != "text" and (self.tokens or self.every or self.per != "character"):
            raise ValueError(f"{self.part}: tokens, every and per are for texts only")
        if self.source == "history" and self.share != 1:
            raise ValueError(f"{self.part}: the history cannot be cut in pieces")
        return self


Format = tuple[PromptPart, ...]
"""The parts of a prompt, front first."""


class Change(Part):
    """A change of the prompt's format or of the checkpoint."""

    name: str = Field(min_length=1, max_length=60)
    """Short name."""
    description: str = ""
    """What is changed, and why."""
    prompt: Annotated[Format | None, BeforeValidator(as_tuple)] = None
    """The new prompt, front first; none: it stays as it is."""
    set: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    """Values of the scenario that change with it, each `path=value`."""

    @model_validator(mode="after")
    def _complete(self) -> "Change":
        if self.prompt is None:
            return self
        sources = [part.source for part in self.prompt]
        if sources.count("history") != 1 or sources[-1] != "history":
            raise ValueError("prompt: the history must be its last part, once")
        for source in ("definition", "persona"):
            total = sum(part.share for part in self.prompt if part.source == source)
            if total > 0 and abs(total - 1) > 1e-6:
                raise ValueError(f"prompt: shares of the {source} must add up to 1, not {total:g}")
        return self


def current_format(scenario: Scenario) -> Format:
    """The prompt that the simulator builds: date, definition, persona, history."""
    prompt = scenario.prompt
    found = [PromptPart(part="definition", source="definition")]
    if prompt.date_tokens:
        found.insert(0, PromptPart(part="date", tokens=prompt.date_tokens, every=DAY_S))
    if prompt.persona_tokens:
        found.append(PromptPart(part="persona", source="persona"))
    return (*found, PromptPart(part="history", source="history"))


def shipped() -> list[str]:
    """Names of the changes that come with the package."""
    folder = files("kaiju_sim.evals").joinpath("changes")
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if "yaml" in entry.name)


def load_change(name: str) -> Change:
    """The change in a file, or the shipped one of that name; UserError with file and line."""
    if not Path(name).is_file():
        return _validated(_shipped_node(name), name)
    return _validated(read_file(Path(name), name), name)


def _shipped_node(name: str) -> Node:
    allowed = shipped()
    if name not in allowed:
        hint = nearest(name, allowed)
        raise UserError(f"--change {name}: no such file or change{hint} ({', '.join(allowed)})")
    entry = files("kaiju_sim.evals").joinpath("changes").joinpath(f"{name}.yaml")
    return parse(entry.read_text(encoding="utf-8"), Origin(f"{name}.yaml", 1))


def _validated(node: Node, name: str) -> Change:
    if not isinstance(node.value, dict):
        raise UserError("a change is a mapping of keys", name, 1)
    root = (Change,)
    raise_first(list(unknown_keys(node, root, root)), name)
    try:
        return Change.model_validate(node.plain(), context=FROM_FILE)
    except ValidationError as error:
        raise_first(of_validation(error, node, root), name)
        raise


def changed(sets: Sequence[str], change: Change | None) -> list[str]:
    """Settings of the scenario with those of the change on top."""
    return [*sets, *(change.set if change else ())]
