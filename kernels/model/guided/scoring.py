"""Rules that judge a candidate by its probabilities: which are filtered, and what the rest score.

With p_h the probability of head h at the candidate's end:

    filtered if  p_t > above_t                      for any threshold t
    score    =   prod_r p_r ^ exponent_r
               - sum_c [p_c > above_c] * amount_c * (1 + (p_c - above_c) * growth_c)

over rewards r and penalties c. Rewards lie within 0 and 1, and usual penalties are 1,000 and more:
one penalty outweighs any reward, so rewards decide among candidates with equal penalties.

A rule that names a head which the classifier does not have is an error, as are probabilities that
are none: a rule that is skipped, or a NaN (which exceeds nothing), would let everything pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from kernels.common import checks
from kernels.model.guided.classifier import HeadNames

MOST = 1e12
"""Largest amount and growth of a penalty: sums and products of these stay exact enough."""


@dataclass(frozen=True)
class Threshold:
    """Filters a candidate whose probability is higher."""

    head: str
    """Name of the head."""
    above: float
    """0 to 1; equal is not higher."""

    def __post_init__(self) -> None:
        checks.number(f"threshold {self.head}: above", self.above, 0.0, 1.0)


@dataclass(frozen=True)
class Penalty:
    """Takes from the score of a candidate whose probability is higher."""

    head: str
    """Name of the head."""
    above: float
    """0 to 1; equal is not higher."""
    amount: float
    """Taken at the threshold, 0 or more."""
    growth: float = 0.0
    """Share of the amount that is taken on top, for each 1 of probability above the threshold."""

    def __post_init__(self) -> None:
        checks.number(f"penalty {self.head}: above", self.above, 0.0, 1.0)
        checks.number(f"penalty {self.head}: amount", self.amount, 0.0, MOST)
        checks.number(f"penalty {self.head}: growth", self.growth, 0.0, MOST)


@dataclass(frozen=True)
class Reward:
    """A factor of the score: the probability to a power."""

    head: str
    """Name of the head."""
    exponent: float = 0.5
    """0 to 16; 0.5 for two heads is their geometric mean."""

    def __post_init__(self) -> None:
        checks.number(f"reward {self.head}: exponent", self.exponent, 0.0, 16.0)


@dataclass(frozen=True)
class Rules:
    """All rules. Raises ValueError if two of a kind name the same head."""

    thresholds: tuple[Threshold, ...] = ()
    """What filters a candidate."""
    penalties: tuple[Penalty, ...] = ()
    """What lowers its score."""
    rewards: tuple[Reward, ...] = ()
    """What makes its score; with none it is 1 before penalties."""

    def __post_init__(self) -> None:
        for kind, rules in _kinds(self).items():
            names = [rule.head for rule in rules]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{kind}: given more than once: {', '.join(twice)}")


class Verdict(NamedTuple):
    """What the rules say about candidates."""

    scores: list[float]
    """Of each candidate, filtered ones too."""
    broken: list[tuple[str, ...]]
    """Of each candidate, the heads whose threshold it exceeds: none if it passes."""


def _kinds(rules: Rules) -> dict[str, Sequence[Threshold | Penalty | Reward]]:
    return {
        "thresholds": rules.thresholds, "penalties": rules.penalties, "rewards": rules.rewards
    }  # fmt: skip


def _values(rules: Sequence[object], name: str) -> torch.Tensor:
    return torch.tensor([getattr(rule, name) for rule in rules], dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Judge:
    """Rules bound to the heads of one classifier. Raises ValueError if a rule names a head that it
    does not have."""

    rules: Rules
    """The rules."""
    heads: HeadNames
    """Names of the columns of the metrics."""
    _columns: dict[str, list[int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        columns = {
            kind: [self.heads.index(rule.head, kind) for rule in rules]
            for kind, rules in _kinds(self.rules).items()
        }
        object.__setattr__(self, "_columns", columns)

    def verdict(self, metrics: torch.Tensor) -> Verdict:
        """Judges candidates, in float64 on the host. `metrics` float `[candidates, heads]`.

        Raises ValueError if one is not a probability, NaN among them.
        """
        checks.tensor("metrics", metrics, (None, len(self.heads)), (torch.float32, torch.float64))
        p = metrics.detach().to("cpu", torch.float64)
        if not bool(((p >= 0) & (p <= 1)).all()):
            raise ValueError("metrics: must be probabilities, from 0 to 1 and none of them NaN")
        return Verdict((self._rewards(p) - self._penalties(p)).tolist(), self._broken(p))

    def _rewards(self, p: torch.Tensor) -> torch.Tensor:
        factors = p[:, self._columns["rewards"]].pow(_values(self.rules.rewards, "exponent"))
        return factors.prod(1)

    def _penalties(self, p: torch.Tensor) -> torch.Tensor:
        above, amount, growth = (
            _values(self.rules.penalties, name) for name in ("above", "amount", "growth")
        )
        over = p[:, self._columns["penalties"]] - above
        return ((over > 0) * amount * (1 + over * growth)).sum(1)

    def _broken(self, p: torch.Tensor) -> list[tuple[str, ...]]:
        over = p[:, self._columns["thresholds"]] > _values(self.rules.thresholds, "above")
        names = [rule.head for rule in self.rules.thresholds]
        return [
            tuple(name for name, is_over in zip(names, row, strict=True) if is_over)
            for row in over.tolist()
        ]


def best(scores: Sequence[float], allowed: Sequence[int]) -> int:
    """The allowed candidate with the highest score, of equals the lowest number."""
    return max(sorted(allowed), key=scores.__getitem__)
