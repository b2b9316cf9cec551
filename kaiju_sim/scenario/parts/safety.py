"""The safety gate: classifiers before and after the model, and what users do who are refused.

What was measured where, and what is a guess, stands in docs/safety.md; every assumed number carries
range, source and grade. Scores are shares: a class of messages has a median score, and the log-odds
of its scores are normal with a stated spread.
"""

from typing import Literal

from pydantic import Field, model_validator

from kaiju_sim.scenario.assumed import Assumed, AssumedShare, assumed, assumed_share
from kaiju_sim.scenario.base import Part
from kaiju_sim.scenario.quantities import PositiveSeconds

_TOXIC_CHAT = "recall .70, precision .55 of a moderation model on ToxicChat (its card), fitted"
_GUESS = "not published"
_USERS = "nobody says what refused users do"


class Pool(Part):
    """Servers (CPU cores) that classify messages, with one queue: first come, first served."""

    servers: int = Field(default=8, ge=1, le=100_000)
    """Servers in each cell."""
    service: Literal["lognormal", "exponential", "constant"] = "lognormal"
    """Law of the service time."""
    service_mean_s: Assumed = assumed(
        *(0.0034, 0.001, 0.032, "encoder of 22M, int8, CPU: p50 3.2, p99 7.6 ms; BERT 32 ms", "R")
    )
    """Mean service time, seconds."""
    service_sigma: Assumed = assumed(*(0.37, 0.1, 1.0, "the same two quantiles", "R"))
    """Standard deviation of the logarithm, for `lognormal`."""
    queue_limit: int | None = Field(default=None, ge=1, le=10_000_000)
    """Messages that may wait in each cell (none: any number)."""
    overload: Literal["open", "closed"] = "closed"
    """What happens to a message that finds the queue full: `open`: it passes unchecked at once;
    `closed`: it is refused at once."""
    timeout: PositiveSeconds | None = None
    """A message without a verdict so long after its arrival goes by `failure` (none: it waits)."""
    failure: Literal["open", "closed"] = "closed"
    """What happens to a message without a verdict in time, and to all while the gate is down."""


class Thresholds(Part):
    """Scores from which on a message, or an answer, is blocked."""

    adult: float = Field(default=0.6, gt=0, lt=1)
    """For adults."""
    teen: float = Field(default=0.4, gt=0, lt=1)
    """For users under 18."""


class ScoreLaw(Part):
    """Scores of one class: normal log-odds about those of the median."""

    median: AssumedShare
    """Median score."""
    spread: Assumed
    """Standard deviation of the log-odds."""

    @model_validator(mode="after")
    def _inside(self) -> "ScoreLaw":
        if not 0 < self.median.value < 1:
            raise ValueError("a median score must be above 0 and below 1")
        return self


def _law(median: float, low: float, high: float, spread: float) -> ScoreLaw:
    return ScoreLaw(
        median=assumed_share(median, low, high, _TOXIC_CHAT, "I"),
        spread=assumed(spread, 0.5, 3.0, _TOXIC_CHAT, "I"),
    )


class Scores(Part):
    """Laws of the scores by class."""

    benign: ScoreLaw = _law(0.01, 0.001, 0.05, 1.5)
    """Benign."""
    intense: ScoreLaw = _law(0.1, 0.03, 0.3, 1.5)
    """Benign but intense: fiction, violence, grief, romance within the rules."""
    violating: ScoreLaw = _law(0.75, 0.5, 0.95, 1.5)
    """Violating."""


class Classes(Part):
    """Shares of a tier's messages; the rest is benign."""

    violating: AssumedShare = assumed_share(
        *(0.03, 0.005, 0.1, "ToxicChat 7.3 %, LMSYS 5 %, WildChat 10.5 % flagged; not blocked", "I")
    )
    """Violating."""
    intense: AssumedShare = assumed_share(0.15, 0.05, 0.4, _GUESS, "U")
    """Benign but intense."""

    @model_validator(mode="after")
    def _sum(self) -> "Classes":
        if self.violating.value + self.intense.value > 1:
            raise ValueError("shares of violating and intense messages exceed 1")
        return self


class Tier(Part):
    """What one age tier says and how it is scored."""

    classes: Classes = Classes()
    """Shares of the classes."""
    messages: Scores = Scores()
    """Scores of messages."""
    answers: Scores = Scores()
    """Scores of answers."""


class AnswerRisk(Part):
    """How often an answer violates, by the class of the message it answers."""

    benign: AssumedShare = assumed_share(0.002, 0.0, 0.02, _GUESS, "U")
    """After a benign message."""
    intense: AssumedShare = assumed_share(0.03, 0.0, 0.15, _GUESS, "U")
    """After one that is benign but intense."""
    violating: AssumedShare = assumed_share(
        *(0.4, 0.1, 0.8, "WildChat: 6.6 % of answers for 10.5 % of messages flagged", "I")
    )
    """After a violating one."""


class Post(Part):
    """What judges answers."""

    kind: Literal["none", "classifier", "head"] = "none"
    """`none`; `classifier`: reads the finished answer and takes it back; `head`: the model's own,
    which drops candidates after every chunk (`engine.candidates`, `engine.chunk_tokens`): an answer
    is blocked, and ends, when all candidates are dropped."""
    likeness: AssumedShare = assumed_share(0.5, 0.0, 1.0, _GUESS, "U")
    """Correlation of the log-odds of candidates of one answer."""
    risk: AnswerRisk = AnswerRisk()
    """Violating answers."""


class Refused(Part):
    """What users do whose message or answer was blocked; the rest drops the turn and goes on."""

    leave: AssumedShare = assumed_share(0.02, 0.0, 0.2, _USERS, "U")
    """Leave for good."""
    reword: AssumedShare = assumed_share(0.5, 0.1, 0.9, _USERS, "U")
    """Say it in other words: same class and length, a new score."""
    pause_s: Assumed = assumed(12, 3, 60, _USERS, "U")
    """Mean time until they do, seconds (exponential)."""

    @model_validator(mode="after")
    def _sum(self) -> "Refused":
        if self.leave.value + self.reword.value > 1:
            raise ValueError("safety.refused: leave and reword exceed 1")
        return self


class Safety(Part):
    """The safety gate. Off unless `pre` or `post.kind` says otherwise."""

    pre: Literal["none", "before", "after"] = "none"
    """The classifier of messages. `before`: a message is routed when it has passed; `after` (a
    break-it): the model answers beside it, and the answer of a blocked message is thrown away."""
    pool: Pool = Pool()
    """Servers of that classifier."""
    post: Post = Post()
    """The classifier of answers."""
    thresholds: Thresholds = Thresholds()
    """For messages."""
    answer_thresholds: Thresholds = Thresholds()
    """For answers."""
    teen_share: AssumedShare = assumed_share(0.1, 0.01, 0.4, _GUESS, "U")
    """Share of dialogues whose user is under 18."""
    adult: Tier = Tier()
    """Adults."""
    teen: Tier = Tier()
    """Users under 18."""
    refused: Refused = Refused()
    """What users do who are refused."""

    @property
    def on(self) -> bool:
        """Whether there is any gate."""
        return self.pre != "none" or self.post.kind != "none"

    def acts(self, path: str) -> bool:
        """Whether what is assumed at this dotted path of the part has any effect."""
        idle: tuple[str, ...] = ()
        if self.pool.service != "lognormal":
            idle += ("pool.service_sigma",)
        if self.pre == "none":
            idle += ("pool.", "adult.messages.", "teen.messages.")
        if self.post.kind == "none":
            idle += ("post.", "adult.answers.", "teen.answers.")
        return self.on and not path.startswith(idle)
