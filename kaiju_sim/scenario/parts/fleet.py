"""The fleet: replicas, groups of different GPUs, planned changes and autoscaling."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from kaiju_sim.scenario.base import Part
from kaiju_sim.scenario.quantities import (
    Fraction,
    PositiveFraction,
    PositiveSeconds,
    Seconds,
    UsdPerHour,
    as_tuple,
)

MOST_REPLICAS = 4000


def _by_time(changes: Any) -> Any:
    return sorted(changes, key=lambda change: change.at)


class Group(Part):
    """Replicas of one kind in a mixed fleet."""

    replicas: int = Field(ge=1, le=MOST_REPLICAS)
    """Replicas of this group in all cells together."""
    gpu: str | None = None
    """GPU, by catalog name (none: the scenario's)."""
    tensor_parallel: int | None = Field(default=None, ge=1, le=16)
    """GPUs per replica (none: fleet.tensor_parallel)."""
    profile: str | None = None
    """Calibration profile of this group, for steptime.kind `profile` or `auto`."""
    gpu_price: UsdPerHour | None = None
    """Price of one GPU (none: economics.gpu_price, or the catalog's for this GPU)."""
    memory_utilisation: PositiveFraction | None = None
    """Share of HBM that the engine may use (none: kv.memory_utilisation)."""


class Change(Part):
    """A planned change of the fleet, in each of its cells."""

    at: Seconds
    """When."""
    action: Literal["add_shards", "drain_shards", "scale", "lose_table"]
    """`add_shards`, `drain_shards` (no new messages, those under way finish, then it is given
    back), `scale` (add or drain to a number of replicas), `lose_table` (the affinity table)."""
    count: int | None = Field(default=None, ge=1, le=MOST_REPLICAS)
    """Shards to add or drain in each cell (those to drain: highest numbers first)."""
    shards: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = ()
    """Numbers of the shards to drain in each cell, instead of a count."""
    replicas: int | None = Field(default=None, ge=1, le=MOST_REPLICAS)
    """`scale`: replicas in all cells together."""
    warm: Literal["cold", "shadow"] = "cold"
    """How added shards join: `cold`: as soon as the model is loaded, with empty caches; `shadow`:
    first copies of messages for fleet.shadow_time, then a ramp over fleet.ramp_time."""

    @model_validator(mode="after")
    def _complete(self) -> "Change":
        wanted = {
            "add_shards": self.count is not None,
            "drain_shards": (self.count is None) == bool(self.shards),
            "scale": self.replicas is not None,
        }
        needs = {
            "add_shards": "count",
            "drain_shards": "either count or shards",
            "scale": "replicas",
        }
        if not wanted.get(self.action, True):
            raise ValueError(f"{self.action}: give {needs[self.action]}")
        if len(set(self.shards)) < len(self.shards) or min(self.shards, default=0) < 0:
            raise ValueError("shards must be different numbers from 0")
        return self


class Entry(Part):
    """From this hour on, this many replicas."""

    hour: float = Field(ge=0, lt=24)
    """Local hour (traffic.diurnal.start_hour is simulated time 0)."""
    replicas: int = Field(ge=1, le=MOST_REPLICAS)
    """Replicas in all cells together."""


class Autoscale(Part):
    """Replicas follow the load, or a daily schedule, in units of shards."""

    policy: Literal["target", "schedule"] = "target"
    """`target`: replicas = ceil(serving x metric / target); `schedule`: by local hour."""
    metric: Literal["load", "waiting", "kv"] = "load"
    """What is tracked, mean over serving replicas: messages (`load`), of these the waiting ones
    (`waiting`), or the share of global KV blocks that messages hold (`kv`)."""
    target: float | None = Field(default=None, gt=0)
    """Value of the metric to keep, for policy `target`."""
    min: int = Field(ge=1, le=MOST_REPLICAS)
    """Replicas at least, in all cells together."""
    max: int = Field(ge=1, le=MOST_REPLICAS)
    """Replicas at most, in all cells together, those ordered included."""
    tolerance: Fraction = 0.1
    """`target`: nothing changes while the metric is within this share of its target."""
    interval: PositiveSeconds = 30.0
    """Time between decisions."""
    scale_in_delay: Seconds = 300.0
    """Replicas are given back only below the highest wish of this long (no flapping)."""
    cooldown: Seconds = 0.0
    """Least time between two changes."""
    step: int | None = Field(default=None, ge=1)
    """Shards that one decision adds or drains in a cell at most."""
    warm: Literal["cold", "shadow"] = "cold"
    """How added shards join, as in fleet.changes."""
    schedule: Annotated[tuple[Entry, ...], BeforeValidator(as_tuple)] = ()
    """Entries of a day, for policy `schedule`; each holds until the next one's hour."""

    @model_validator(mode="after")
    def _complete(self) -> "Autoscale":
        if self.policy == "target" and self.target is None:
            raise ValueError("fleet.autoscale.policy is target: give fleet.autoscale.target")
        if self.policy == "schedule" and not self.schedule:
            raise ValueError("fleet.autoscale.policy is schedule: give fleet.autoscale.schedule")
        if self.min > self.max:
            raise ValueError("fleet.autoscale.min must not exceed fleet.autoscale.max")
        hours = [entry.hour for entry in self.schedule]
        if hours != sorted(set(hours)):
            raise ValueError("fleet.autoscale.schedule needs hours that increase")
        return self


class Fleet(Part):
    """How many copies of the model, on which GPUs, and how that changes."""

    replicas: int = Field(default=1, ge=1, le=MOST_REPLICAS)
    """Replicas in all cells together (where the fleet changes: at the start)."""
    tensor_parallel: int = Field(default=1, ge=1, le=16)
    """GPUs (ranks) per replica."""
    cells: int = Field(default=1, ge=1, le=256)
    """Independent cells: each has its own router, its share of replicas and of users."""
    shard_replicas: int = Field(default=1, ge=1)
    """Replicas per shard, the group that one entry of the affinity table points at."""
    groups: Annotated[tuple[Group, ...], BeforeValidator(as_tuple)] = ()
    """Groups of a mixed fleet, whose replicas add up to fleet.replicas; none: all are alike.
    Added shards are of the first group."""
    changes: Annotated[tuple[Change, ...], BeforeValidator(as_tuple)] = ()
    """Planned changes."""
    autoscale: Autoscale | None = None
    """Autoscaling; none: the fleet changes only as planned."""
    provisioning_delay: Seconds = 180.0
    """From the order of a shard until its GPUs are there; billed from the order."""
    load_delay: Seconds = 120.0
    """After that, until the model is loaded."""
    shadow_time: Seconds = 300.0
    """Shadow warm-up: for so long a new shard gets copies of the messages of characters that will
    move to it; their answers are discarded (prefill and one token), users notice nothing."""
    ramp_time: Seconds = 300.0
    """Then the share of the dialogues concerned that go there grows to all of them in this time."""

    @property
    def unit(self) -> int:
        """Replicas of one shard in every cell: what the fleet changes by."""
        return self.cells * self.shard_replicas

    @property
    def most_replicas(self) -> int:
        """Replicas that there ever are at once, those that drain or are ordered included."""
        if self.autoscale is not None:
            return self.autoscale.max
        return max(self._counts())

    def _counts(self) -> list[int]:
        """Replicas at the start and after each planned change, in order of time."""
        counts = [self.replicas]
        for change in _by_time(self.changes):
            shards = len(change.shards) or change.count or 0
            sign = {"add_shards": 1, "drain_shards": -1}.get(change.action, 0)
            counts.append(change.replicas or counts[-1] + sign * shards * self.unit)
        return counts

    @model_validator(mode="after")
    def _divisible(self) -> "Fleet":
        if self.replicas % self.unit:
            raise ValueError("fleet.replicas must be a multiple of cells x shard_replicas")
        if any(group.replicas % self.unit for group in self.groups):
            raise ValueError("fleet.groups: replicas must be multiples of cells x shard_replicas")
        if self.groups and sum(group.replicas for group in self.groups) != self.replicas:
            raise ValueError("fleet.groups: their replicas must add up to fleet.replicas")
        return self

    @model_validator(mode="after")
    def _changes(self) -> "Fleet":
        counts = self._counts()
        if any(count % self.unit for count in counts):
            raise ValueError("fleet.changes: replicas must be multiples of cells x shard_replicas")
        if min(counts) < self.unit:
            raise ValueError("fleet.changes: at least one shard of each cell must remain")
        if max(counts) > MOST_REPLICAS:
            raise ValueError(f"fleet.changes: more than {MOST_REPLICAS} replicas")
        numbers = [number for change in self.changes for number in change.shards]
        if max(numbers, default=0) * self.unit >= max(counts):
            raise ValueError(f"fleet.changes: a cell has no shard {max(numbers)}")
        return self

    @model_validator(mode="after")
    def _autoscaled(self) -> "Fleet":
        scale = self.autoscale
        if scale is None:
            return self
        if any(change.action != "lose_table" for change in self.changes):
            raise ValueError("fleet.autoscale and fleet.changes both set the shards: give one")
        stated = (scale.min, scale.max, *(entry.replicas for entry in scale.schedule))
        if any(count % self.unit for count in stated):
            raise ValueError(
                "fleet.autoscale: replicas must be multiples of cells x shard_replicas"
            )
        if not all(scale.min <= count <= scale.max for count in (*stated, self.replicas)):
            raise ValueError("fleet.autoscale: all replicas must lie between min and max")
        return self
