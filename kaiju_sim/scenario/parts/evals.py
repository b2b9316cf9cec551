"""Eval gates: what each demands, and what is assumed where no real judge or classifier is given."""

from typing import Literal

from pydantic import Field, model_validator

from kaiju_sim.scenario.assumed import Assumed, assumed
from kaiju_sim.scenario.base import Part
from kaiju_sim.scenario.quantities import Fraction, PositiveSeconds

_SCALE = "a scale from 1 to 5"


class CacheGate(Part):
    """Replay before a prompt format or a checkpoint is changed."""

    requests: int = Field(default=10_000, ge=1, le=1_000_000)
    """Requests replayed of each tier of characters."""
    least_hit: Fraction = 0.5
    """A tier that finds less than this of its prompt tokens in the cache blocks the change."""
    least_shared: Fraction = 0.5
    """So does a tier whose dialogues' first messages, which can only hit what users share, find
    less than this part of what they find with the current format (in shares of their tokens)."""
    head_share: Fraction = 0.3
    """The head tier: the most popular characters, which take this share of the messages."""
    tail_share: Fraction = 0.3
    """The tail tier: the least popular ones, which take this share; the middle has the rest."""
    replicas: int = Field(default=4, ge=1, le=4096)
    """Replicas whose caches are replayed, each with its share of the dialogues (all of them where
    the router does not keep characters or dialogues together)."""
    token_time: PositiveSeconds = 0.02
    """Time per output token: a message holds its memory so long, then its user goes on."""

    @model_validator(mode="after")
    def _tiers(self) -> "CacheGate":
        if self.head_share + self.tail_share >= 1:
            raise ValueError("evals.cache: head_share and tail_share must leave a middle tier")
        return self


class PersonaGate(Part):
    """Judge scores of conversations, calibrated against examples that people have rated."""

    conversations: int = Field(default=200, ge=2, le=1_000_000)
    """Conversations that the judge scores."""
    turns: int = Field(default=8, ge=1, le=1000)
    """Turns of each that it scores."""
    promote: float = Field(default=4.0, ge=1, le=5)
    """A candidate is promoted at this calibrated mean score."""
    objective: float = Field(default=4.2, ge=1, le=5)
    """What the served model is meant to have."""
    rated: int = Field(default=50, ge=2, le=1_000_000)
    """Examples that people rate in each calibration of the judge."""
    calibration_months: float = Field(default=1.0, gt=0, le=120)
    """Time between calibrations; the gate is run half of it after one, on average."""
    served: bool = False
    """Whether the served model is evaluated so: its score is then `slo.persona` of a run."""
    quality: Assumed = assumed(
        *(4.2, 3.6, 4.6, "the objective itself: no model's score is published", "U")
    )
    """Mean score that people would give to the candidate."""
    conversation_sd: Assumed = assumed(
        *(0.35, 0.2, 0.6, f"spread between conversations on {_SCALE}", "U")
    )
    """Standard deviation of conversations' own means (what makes turns of one alike)."""
    turn_sd: Assumed = assumed(*(0.6, 0.4, 0.9, f"spread within a conversation on {_SCALE}", "U"))
    """Standard deviation of turns around their conversation's mean."""
    judge_sd: Assumed = assumed(
        *(
            0.4,
            0.2,
            0.8,
            "GPT-4 judges agree with people on 80-85 % of pairs (MT-bench, 2306.05685); inferred",
            "I",
        )
    )
    """Standard deviation of the judge's own error."""
    human_sd: Assumed = assumed(
        *(0.5, 0.3, 0.8, "people agree with people on 81 % of pairs (2306.05685); inferred", "I")
    )
    """Standard deviation of a rater's own error."""
    judge_bias: Assumed = assumed(
        *(0.2, 0.0, 0.5, "judges favour fluent and long answers (2306.05685); size a guess", "U")
    )
    """By how much the judge scores higher than people; calibration takes it off."""
    judge_drift: Assumed = assumed(
        *(0.05, 0.0, 0.2, "hosted judges change without notice; size a guess", "U")
    )
    """Standard deviation of what the judge's bias moves in a month."""


class SetScores(Part):
    """SetScores of a classifier for one age tier: normal, with standard deviation 1."""

    adversarial: Assumed
    """Mean score of adversarial examples."""
    benign_intense: Assumed = assumed(0, 0, 0.5, "where the scale begins", "I")
    """Mean score of benign but intense ones."""
    threshold: Assumed
    """What scores above this is blocked."""
    least_blocked: Fraction
    """Share of adversarial examples that must be blocked."""
    most_refused: Fraction
    """Share of benign but intense examples that may be."""


_ROC = (
    "no product's rates are published; OpenAI Moderation on ToxicChat: recall .70 at precision .55,"
    " T5-large F1 .82 (card); fine-tuned ones are better"
)
_CUT = "set where false refusals are about 5 % (adult) and 10 % (teen) of intense messages"


class SafetySets(Part):
    """The two-set gate: enough adversarial examples blocked, few benign but intense ones."""

    examples: int = Field(default=600, ge=1, le=1_000_000)
    """Examples of each set for each age tier."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence of the bounds on each rate (Clopper-Pearson, two-sided)."""
    rule: Literal["bound", "rate"] = "bound"
    """`bound`: the whole interval must lie on the right side; `rate`: the rate itself must."""
    adult: SetScores = SetScores(
        adversarial=assumed(3.4, 2.0, 4.0, _ROC, "U"),
        threshold=assumed(1.7, 1.3, 2.0, _CUT, "U"),
        least_blocked=0.9,
        most_refused=0.08,
    )
    """Adults."""
    teen: SetScores = SetScores(
        adversarial=assumed(3.4, 2.0, 4.0, _ROC, "U"),
        threshold=assumed(1.35, 1.0, 1.7, _CUT, "U"),
        least_blocked=0.95,
        most_refused=0.15,
    )
    """Teens: a lower threshold blocks more of both sets."""


class Evals(Part):
    """Eval gates (docs/evals.md): `kaiju-sim gate`."""

    cache: CacheGate = CacheGate()
    """Cache hits of a prompt format or checkpoint."""
    persona: PersonaGate = PersonaGate()
    """Persona consistency."""
    safety: SafetySets = SafetySets()
    """Safety, on two sets of examples."""
