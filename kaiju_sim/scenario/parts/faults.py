"""What goes wrong: the faults that an incident may begin with, one part for each kind."""

from typing import Annotated, Literal

from pydantic import Field

from kaiju_sim.scenario.assumed import Assumed, assumed
from kaiju_sim.scenario.base import Part
from kaiju_sim.scenario.parts.fleet import MOST_REPLICAS
from kaiju_sim.scenario.quantities import PositiveFraction, PositiveSeconds, Seconds


class TableLoss(Part):
    """The affinity table is lost. Remedy: it is rebuilt from what the replicas' caches hold."""

    kind: Literal["table_loss"]
    store: Literal["none", "ha"] = "none"
    """`ha`: a second copy of the table takes over after `failover`, as it was at the loss, without
    anybody's help; `none`: the table is gone until the remedy."""
    failover: Seconds = 10.0
    """With store `ha`: from the loss to the take-over."""
    meanwhile: Literal["relearn", "spread"] = "spread"
    """What the router does without a table. `spread`: each message goes to the least loaded
    replica, and nothing is entered; `relearn`: characters are entered anew as messages come."""


class ReplicaLoss(Part):
    """Replicas die: messages on them fail, caches are lost. Remedy: they are replaced, empty."""

    kind: Literal["replica_loss"]
    replicas: int | None = Field(default=None, ge=1, le=MOST_REPLICAS)
    """Replicas that die in each cell (a node: as many as it holds); whole shards."""
    share: PositiveFraction | None = None
    """Or the share of each cell's replicas (a zone), rounded to whole shards."""
    fence: Seconds = 10.0
    """Until health checks take a dead replica out of routing; what is sent there before fails."""


class ColdRestart(Part):
    """Every replica restarts at once: all messages under way fail, all caches are empty.

    No remedy: caches fill as dialogues speak.
    """

    kind: Literal["cold_restart"]
    down: PositiveSeconds = 60.0
    """Until replicas compute again; messages that come meanwhile wait."""


class ViralCharacter(Part):
    """New dialogues rush to one character. Remedy: it is no longer promoted, traffic is as before.

    Dialogues that have begun go on.
    """

    kind: Literal["viral"]
    character: int = Field(default=1000, ge=0)
    """Rank of the character by popularity before, from 0."""
    share: PositiveFraction = 0.5
    """Its share of the new dialogues."""
    surge: float = Field(default=2.0, ge=1, le=100)
    """New dialogues come this many times as often."""
    lasts: PositiveSeconds | None = None
    """It ends by itself after this (none: only the remedy ends it)."""


class EditStorm(Part):
    """Definitions are edited in a storm. Remedy: edits are refused until further notice.

    With `characters.pinning: session` only new dialogues get the new versions.
    """

    kind: Literal["edit_storm"]
    edits_per_minute: float = Field(default=600.0, gt=0, le=1e6)
    """Edits a minute in each cell, Poisson in time, characters by popularity."""
    head: int | None = Field(default=None, ge=1)
    """Only the so many most popular characters are edited, evenly (none: all, by popularity)."""
    lasts: PositiveSeconds | None = None
    """It ends by itself after this (none: only the remedy ends it)."""


class BadRollout(Part):
    """A build whose steps take longer goes out in waves. Remedy: all waves are rolled back.

    A replica that changes its build loses the KV that no message holds; what is under way goes on.
    Step times from curves only (`steptime.kind`).
    """

    kind: Literal["bad_rollout"]
    slowdown: float = Field(default=1.5, gt=1, le=100)
    """A step of the new build takes this many times as long."""
    waves: int = Field(default=4, ge=1, le=100)
    """Parts of each cell that get it one after the other."""
    wave_interval: Seconds = 120.0
    """From wave to wave, until all have it or it is rolled back."""
    share: PositiveFraction = 1.0
    """Share of the replicas that get it in the end."""


class Midnight(Part):
    """The date at the front of all prompts changes: no cached prompt matches any more.

    No remedy: caches fill as dialogues speak. Nothing happens where `prompt.date_tokens` is 0.
    """

    kind: Literal["midnight"]


class FalsePositives(Part):
    """The classifier of messages rates harmless ones too high. Remedy: its old version is back."""

    kind: Literal["false_positives"]
    shift: float = Field(default=2.0, gt=0, le=20)
    """So much is added to the log-odds of the scores."""
    ages: Literal["all", "teen"] = "teen"
    """Whose messages; tiers are those of `safety`."""


class ScaleDrift(Part):
    """The int8 scales of one shard's KV drift from its values. Remedy: drained, reloaded, warmed.

    How wrong attention then is was measured on the operator (docs/incidents.md). Nothing is slower.
    """

    kind: Literal["int8_drift"]
    shard: int = Field(default=0, ge=0)
    """Number of the shard, in each cell."""
    per_minute: float = Field(default=0.05, gt=0, le=10)
    """Growth of the logarithm of the scale error, a minute."""
    tolerance: PositiveFraction = 0.1
    """Answers are wrong while attention's relative error exceeds this."""
    warm: Literal["cold", "shadow"] = "cold"
    """How the reloaded shard comes back: `shadow` first warms it with copies of messages."""


_DROP = (
    "well-tuned int8 loses 1 to 3 % (2411.02355), 0.04 to 0.13 points of 4.2; role players were"
    " studied (EMNLP 2024, industry), but by no such score; the size of a bad one is a guess"
)


class PersonaDrift(Part):
    """A requantised checkpoint goes live behind a flag; characters slip. Remedy: flag flipped back.

    Scores are those of `evals.persona`. A replica that changes its checkpoint loses the KV that no
    message holds; what is under way goes on. Nothing is slower.
    """

    kind: Literal["persona_drift"]
    share: PositiveFraction = 1.0
    """Share of the replicas behind the flag."""
    drop: Assumed = assumed(*(0.6, 0.05, 1.5, _DROP, "U"))
    """By how much the mean score that people would give falls, from `evals.persona.quality`."""
    poor: float = Field(default=3.0, ge=1, le=5)
    """An answer is wrong if its true score is below this and would not be with the old
    checkpoint."""


Fault = Annotated[
    TableLoss
    | ReplicaLoss
    | ColdRestart
    | ViralCharacter
    | EditStorm
    | BadRollout
    | Midnight
    | FalsePositives
    | ScaleDrift
    | PersonaDrift,
    Field(discriminator="kind"),
]
"""Any fault, told apart by `kind`."""
FAULTS: tuple[type[Part], ...] = (
    TableLoss,
    ReplicaLoss,
    ColdRestart,
    ViralCharacter,
    EditStorm,
    BadRollout,
    Midnight,
    FalsePositives,
    ScaleDrift,
    PersonaDrift,
)
"""Every kind of fault, in the order of the documentation."""
