"""A guide: the file that says how candidates are judged by a classifier's probabilities.

It is strict YAML: a key, or a head, that is not known is an error with file and line. What the
rules mean is `kernels.model.guided.scoring`'s business, which has the same parts.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError

from kaiju_sim.errors import UserError
from kaiju_sim.scenario.base import Part
from kaiju_sim.scenario.quantities import FROM_FILE, Fraction, as_tuple
from kaiju_sim.scenario.reading.problems import of_validation, raise_first, unknown_keys
from kaiju_sim.scenario.reading.reader import read_file
from kaiju_sim.scenario.tree import Node, dotted

MOST = 1e12
"""Largest amount and growth of a penalty."""
Name = Annotated[str, Field(min_length=1, max_length=100)]
KINDS = ("thresholds", "penalties", "rewards")


class Threshold(Part):
    """Filters a candidate whose probability is higher."""

    head: Name
    """Name of the classifier's output."""
    above: Fraction
    """Equal is not higher."""


class Penalty(Part):
    """Takes from the score of a candidate whose probability is higher."""

    head: Name
    """Name of the classifier's output."""
    above: Fraction
    """Equal is not higher."""
    amount: float = Field(ge=0, le=MOST)
    """Taken at the threshold."""
    growth: float = Field(default=0.0, ge=0, le=MOST)
    """Share of the amount that is taken on top, for each 1 of probability above the threshold."""


class Reward(Part):
    """A factor of the score: the probability to a power."""

    head: Name
    """Name of the classifier's output."""
    exponent: float = Field(default=0.5, ge=0, le=16)
    """0.5 for two heads is their geometric mean."""


class Said(Part):
    """What a guide says."""

    heads: Annotated[tuple[Name, ...], BeforeValidator(as_tuple)] = ()
    """The classifier's outputs in their order. A checkpoint has their names; of a random
    classifier, those that rules name if this is not given."""
    thresholds: Annotated[tuple[Threshold, ...], BeforeValidator(as_tuple)] = ()
    """What filters a candidate."""
    penalties: Annotated[tuple[Penalty, ...], BeforeValidator(as_tuple)] = ()
    """What lowers its score."""
    rewards: Annotated[tuple[Reward, ...], BeforeValidator(as_tuple)] = ()
    """What makes its score; with none it is 1 before penalties."""
    when_all_filtered: Literal["flag", "refuse"] = "flag"
    """The answer then ends: with the best of them, or before them."""

    def named(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Each rule's head, and where it stands."""
        for kind in KINDS:
            for i, rule in enumerate(getattr(self, kind)):
                yield (kind, i, "head"), rule.head


@dataclass(frozen=True)
class Guide:
    """A guide that was read, whose values know their lines."""

    said: Said
    tree: Node

    def heads(self, known: Sequence[str] | None) -> tuple[str, ...]:
        """The classifier's outputs: those `known` of a checkpoint, or (None) the guide's own.
        UserError if a rule names another."""
        own = self.said.heads or tuple(dict.fromkeys(head for _, head in self.said.named()))
        if known is None:
            self._check(own)
            return own
        if self.said.heads and self.said.heads != tuple(known):
            raise self._error(("heads",), f"the checkpoint's are {', '.join(known)}")
        self._check(known)
        return tuple(known)

    def _check(self, known: Sequence[str]) -> None:
        for path, head in self.said.named():
            if head not in known:
                near = difflib.get_close_matches(head, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                allowed = f" (allowed: {', '.join(known)})"
                raise self._error(path, f"the classifier has no head {head!r}{hint}{allowed}")

    def _error(self, path: tuple[str | int, ...], message: str) -> UserError:
        node = self.tree.at(path) or self.tree
        return UserError(f"{dotted(path)}: {message}", *node.origin[:2])

    def check_once(self) -> None:
        """UserError if there is no rule, or a name is given twice where it may not be."""
        if not any(True for _ in self.said.named()):
            raise self._error((), "a guide has thresholds, penalties or rewards: there is none")
        for i, head in enumerate(self.said.heads):
            if head in self.said.heads[:i]:
                raise self._error(("heads", i), f"{head!r} is given twice")
        seen: set[tuple[object, str]] = set()
        for path, head in self.said.named():
            if (path[0], head) in seen:
                raise self._error(path, f"{head!r} is given twice")
            seen.add((path[0], head))


def read_guide(file: Path) -> Guide:
    """The guide in a file; UserError, a line with file and line, for whatever is wrong with it."""
    shown = str(file)
    tree = read_file(file, shown)
    if not isinstance(tree.value, dict):
        raise UserError("a guide is a mapping of keys", shown, 1)
    raise_first(list(unknown_keys(tree, (Said,), (Said,))), shown)
    try:
        said = Said.model_validate(tree.plain(), context=FROM_FILE)
    except ValidationError as error:
        raise_first(of_validation(error, tree, (Said,)), shown)
        raise
    guide = Guide(said, tree)
    guide.check_once()
    if said.heads:
        guide.heads(None)
    return guide
