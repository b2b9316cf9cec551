"""What a gate asks of a judge and of a classifier, so that a real one fits: any callable does.

The simulated ones (`persona.judge`, `safety.classifier`) are used where none is given; their
examples have no text, only a number that their scores are drawn from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

AgeTier = Literal["adult", "teen"]
AGE_TIERS: tuple[AgeTier, ...] = ("adult", "teen")


@dataclass(frozen=True)
class Conversation:
    """A conversation to judge: what the character said, turn by turn."""

    id: int
    turns: tuple[str, ...]


@dataclass(frozen=True)
class Rated:
    """A conversation that people have rated, to calibrate the judge by."""

    conversation: Conversation
    human: float
    """Mean score that people gave it, from 1 to 5."""


@dataclass(frozen=True)
class Example:
    """A message to classify."""

    id: int
    text: str
    age_tier: AgeTier
    adversarial: bool
    """True: must be blocked. False: benign but intense, must not be."""


class Judge(Protocol):
    """Scores how well a character stays itself."""

    def __call__(self, conversation: Conversation) -> Sequence[float]:
        """A score from 1 to 5 for each turn."""


class Classifier(Protocol):
    """Decides whether a message is blocked."""

    def __call__(self, example: Example) -> bool:
        """True: blocked. It must not look at `example.adversarial`."""
