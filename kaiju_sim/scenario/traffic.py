"""Scenario fields for what users do: arrivals, sessions, characters and prompts.

Every quantity is stated on its own (messages per second, live sessions, turn cycle, tokens in and
out): none is derived silently from another. What the run realises is printed beside what was
stated, and checked (design: "separate fields, never derived silently from each other").
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from kaiju_sim.scenario.base import Part
from kaiju_sim.scenario.parts.laws import (
    Constant,
    Distribution,
    ExponentialTime,
    Geometric,
    TimeDistribution,
)
from kaiju_sim.scenario.quantities import (
    Fraction,
    Numbers,
    PositiveSeconds,
    Seconds,
    Tokens,
    as_tuple,
)


class Sessions(Part):
    """Closed-loop dialogues: a user reads, thinks, replies, until the dialogue ends."""

    live: int = Field(default=0, ge=0, le=20_000_000)
    """Dialogues already under way at time 0, each somewhere in its life (stationary start)."""
    turns: Distribution = Geometric(kind="geometric", mean=20)
    """Messages per dialogue."""
    think: TimeDistribution = ExponentialTime(kind="exponential", mean=45)
    """Time from the answer's last token to the user's next message."""
    user_tokens: Distribution = Constant(value=40)
    """Tokens that the user adds per message."""
    initial_history: Distribution = Constant(value=0)
    """Tokens of history that a dialogue brings with it when it starts (a returning user)."""
    swipe_rate: float = Field(default=0, ge=0, le=0.95)
    """Probability, after each finished answer, that the user asks for another one to that turn."""
    swipe_delay: TimeDistribution = ExponentialTime(kind="exponential", mean=8)
    """Time from the last token of an answer to the demand for another one."""
    abandon_rate: float = Field(default=0, ge=0, le=0.95)
    """Probability, for each message, that the user leaves for good while the answer streams."""


class Client(Part):
    """What the user's client does when no first token comes."""

    timeout: PositiveSeconds | None = None
    """It gives a message up when no first token has come this long after sending (acts at the next
    epoch's start); none: it waits for ever."""
    retries: int = Field(default=0, ge=0, le=100)
    """How often a message that was given up is sent again; then the user leaves for good."""
    backoff: Seconds = 2.0
    """Pause before the first retry (at least one epoch)."""
    backoff_factor: float = Field(default=2.0, ge=1, le=100)
    """Each further pause is this many times longer."""
    jitter: Fraction = 0.0
    """Spread of the pauses: each is shortened by a uniform draw of up to this part of it."""
    retry_budget: float | None = Field(default=None, ge=0, le=100)
    """Retries of a cell's clients at most, as a part of the messages sent for the first time: a
    bucket of 100 retries that each first sending fills by this much. Who finds it empty leaves for
    good; none: no bound."""


Hours = Annotated[Numbers, Field(min_length=24, max_length=24)]
"""Relative rates at the local hours 0 .. 23."""
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class TimeZone(Part):
    """Users who live by another clock."""

    offset_hours: float = Field(default=0, ge=-24, le=24)
    """Their clock is ahead of the scenario's local time by this."""
    share: float = Field(gt=0, le=1e6)
    """Their share of the messages, relative to the other zones'."""


class Diurnal(Part):
    """Shape of the day, linear between hours; with weekends, of the week.

    The rate's mean over a whole day is messages_per_s; where weekends differ, its mean over a week
    of five weekdays and two weekend days is (holidays come on top).
    """

    shape: Hours
    """Relative rate at each local hour 0 .. 23, on weekdays."""
    start_hour: float = Field(default=0, ge=0, lt=24)
    """Local hour at simulated time 0."""
    weekend_shape: Hours | None = None
    """Relative rate at each hour of a Saturday, Sunday or holiday; none: as on weekdays."""
    weekend_scale: float = Field(default=1, ge=0, le=100)
    """Messages of a weekend day / messages of a weekday."""
    start_day: Day = "mon"
    """Day of the week at simulated time 0."""
    holidays: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = ()
    """Days that are like a weekend: 0 is the day that simulated time 0 is in."""
    time_zones: Annotated[tuple[TimeZone, ...], BeforeValidator(as_tuple)] = ()
    """Mix of users on other clocks; none: all live by the scenario's."""

    @model_validator(mode="after")
    def _positive(self) -> "Diurnal":
        for name in ("shape", "weekend_shape"):
            shape = getattr(self, name)
            if shape is not None and (min(shape) < 0 or max(shape) <= 0):
                raise ValueError(f"traffic.diurnal.{name} needs rates of 0 or more, not all 0")
        return self


class TraceFile(Part):
    """A trace to replay; formats and columns are in docs/traces.md."""

    file: str
    """Path, relative to the scenario file."""
    format: Literal[
        "auto", "mooncake", "ragpulse", "azure", "csv", "jsonl", "parquet", "servegen"
    ] = "auto"
    """File format; `auto` tells it from the name and the columns."""
    block_tokens: int = Field(default=512, ge=1, le=65536)
    """Tokens that one block id of the trace stands for."""
    rate_scale: float = Field(default=1.0, gt=0)
    """Arrivals come this many times faster than in the trace."""
    spread: Seconds = 0.0
    """Arrivals that share one time stamp are spread evenly over this span (trace time)."""
    max_rows: int | None = Field(default=None, ge=1)
    """Replay at most this many rows from the start."""
    start: Seconds = 0.0
    """Replay from this time after the trace's first row (servegen: after its first window)."""
    duration: PositiveSeconds | None = None
    """Replay so much of the trace's time (none: all; servegen: as long as run.horizon)."""
    client_scale: float = Field(default=1.0, gt=0, le=1e6)
    """servegen: every client's rate is multiplied by this (and its hours stay as they are)."""


class Traffic(Part):
    """Who arrives when, and how much they say."""

    kind: Literal["sessions", "poisson", "replay"] = "sessions"
    """`sessions`: closed loop; `poisson`: open loop, one message each; `replay`: a trace file."""
    messages_per_s: float | None = Field(default=None, gt=0, le=1e6)
    """Mean message rate over the shape, swipes included and retries not (sessions: new dialogues
    start at this / mean messages of a dialogue)."""
    turn_cycle: PositiveSeconds | None = None
    """Stated time from turn to turn of one dialogue; checked against the realised one."""
    sessions: Sessions = Sessions()
    """Closed-loop behaviour."""
    client: Client = Client()
    """Time-outs and retries."""
    output_tokens: Distribution = Constant(value=140)
    """Tokens of an answer (at least 1; the engine does not know it in advance)."""
    paid_share: Fraction = 0.0
    """Share of dialogues that are of the paid tier; the others are of the free tier."""
    diurnal: Diurnal | None = None
    """Shape of the day and the week; none: constant rate."""
    burstiness: float = Field(default=1, ge=0.05, le=10)
    """Coefficient of variation of the gaps between arrivals in each cell (gamma; 1: Poisson)."""
    trace: TraceFile | None = None
    """The trace, for kind `replay`."""

    @model_validator(mode="after")
    def _complete(self) -> "Traffic":
        if self.kind == "replay" and self.trace is None:
            raise ValueError("traffic.kind is replay: give traffic.trace")
        if self.kind != "replay" and self.messages_per_s is None:
            raise ValueError(f"traffic.kind is {self.kind}: give traffic.messages_per_s")
        return self

    @model_validator(mode="after")
    def _drawn(self) -> "Traffic":
        if self.kind == "replay" and self.burstiness != 1:
            raise ValueError("traffic.kind is replay: traffic.burstiness is the trace's own")
        return self

    @model_validator(mode="after")
    def _dialogues(self) -> "Traffic":
        if self.kind != "sessions" and (self.sessions.swipe_rate or self.sessions.abandon_rate):
            raise ValueError(
                f"traffic.kind is {self.kind}: traffic.sessions.swipe_rate and abandon_rate are for"
                " kind sessions"
            )
        return self


class Characters(Part):
    """The character store: how many, how popular, how long their definitions, how often edited."""

    count: int = Field(default=5000, ge=1, le=2_000_000)
    """Number of characters."""
    zipf: float = Field(default=0.9, ge=0, le=3)
    """Popularity exponent: share of rank r proportional to r^-zipf."""
    head_cap: Fraction = 1.0
    """No character takes more than this share (the rest is spread over the others)."""
    definition_tokens: Distribution = Constant(value=1000)
    """Tokens of a definition."""
    edits_per_hour: float = Field(default=0, ge=0, le=1e6)
    """Edits an hour over all characters, by popularity; each makes a new version."""
    pinning: Literal["session", "none"] = "session"
    """`session`: a dialogue keeps the version it started with; `none`: edits act at once."""
    invalidate: bool = False
    """An edit drops the old version's KV from all caches at once; else it ages out."""

    @model_validator(mode="after")
    def _unpinned(self) -> "Characters":
        if self.invalidate and self.pinning == "session":
            raise ValueError(
                "characters.invalidate needs characters.pinning: none (dialogues that are pinned to"
                " an old version go on using it)"
            )
        return self

    @model_validator(mode="after")
    def _cap(self) -> "Characters":
        if self.head_cap * self.count < 1:
            raise ValueError("characters.head_cap must be at least 1 / characters.count")
        return self


class Prompt(Part):
    """[date | definition | persona and pinned | history], cut oldest first in steps."""

    date_tokens: int = Field(default=0, ge=0)
    """Tokens of the date at the very front (part of the shared head; rolls over at midnight)."""
    persona_tokens: Tokens = 0
    """Tokens of the user's persona and pinned messages, after the definition."""
    limit: int = Field(default=8192, ge=2, le=10_000_000)
    """Prompt tokens at most; above it, history is cut."""
    truncation_step: int = Field(default=2000, ge=1)
    """History is cut by the smallest multiple of this many tokens that gets it under the limit."""

    @model_validator(mode="after")
    def _room(self) -> "Prompt":
        if self.date_tokens + self.persona_tokens >= self.limit:
            raise ValueError("prompt.limit must exceed prompt.date_tokens + prompt.persona_tokens")
        return self
