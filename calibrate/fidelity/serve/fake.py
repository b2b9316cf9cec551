"""An engine without a GPU: the real one, with an executor that only lets time pass.

It takes as long as the curves say, or differs from them in a known way; what is known to differ has
to be what the comparison finds. The clock may be a fake one, then a run takes no longer than the
engine's own work, or the wall clock, then the executor sleeps.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from calibrate.bench import Served, Setting, Wrap
from calibrate.engine.clock import Clock, FakeClock, WallClock
from calibrate.engine.engine import Engine
from calibrate.engine.executor import (
    Executor,
    FakeExecutor,
    StepPlan,
    predicted_after_ns,
    predicted_ns,
)
from calibrate.engine.journal import Event, Journal
from calibrate.engine.memory.rings import reserve_pages
from calibrate.fidelity.curves import curves_for, without_engine
from calibrate.measure.seam import Card
from kaiju_sim.engine.limits import Limits
from kaiju_sim.steptime.curves import Curves
from kaiju_sim.steptime.profile import Profile

DECODE, MIXED, PREFILL = "decode", "mixed", "prefill"


def kind_of(decodes: int, rows: int) -> str:
    """Of a step: decodes only, prompts only, or both."""
    return DECODE if not rows else MIXED if decodes else PREFILL


class Change(NamedTuple):
    """What becomes of a time."""

    factor: float = 1.0
    more_ns: float = 0.0

    def of(self, ns: float) -> int:
        """The changed time."""
        return round(ns * self.factor + self.more_ns)


@dataclass(frozen=True)
class Distortion:
    """How an engine differs from the curves, by kind of step; where nothing is said, not at all."""

    step: Mapping[str, float] = field(default_factory=dict)
    """Factor on a step's time."""
    host: Mapping[str, Change] = field(default_factory=dict)
    """Its own time before a step."""
    after: Mapping[str, Change] = field(default_factory=dict)
    """Its own time after one."""


class Distorted:
    """Steps of other lengths, on a fake clock."""

    def __init__(self, clock: FakeClock, curves: Curves, distortion: Distortion) -> None:
        self._clock, self._curves, self._step = clock, curves, distortion.step
        self._tokens = FakeExecutor(clock, curves)

    def run(self, plan: StepPlan) -> Any:
        """Nothing is computed."""
        kind = kind_of(plan.batch.decodes, plan.batch.rows)
        factor, predicted = self._step.get(kind, 1.0), predicted_ns(self._curves, plan)
        tokens = FakeExecutor(FakeClock(), self._curves, self._tokens.token).run(plan)
        self._clock.advance(predicted if factor == 1.0 else round(predicted * factor))
        return tokens

    def copy(self, copies: Any) -> None:
        """There is nothing to copy."""


class Delayed:
    """The engine's own work before each step and after it, on a fake clock."""

    def __init__(
        self, inner: Executor, clock: FakeClock, curves: Sequence[Curves], distortion: Distortion
    ) -> None:
        """`curves`: with the engine's own time, and without."""
        self._inner: Any = inner
        self._clock, self._changed = clock, distortion
        self._full, self._device = curves
        self._after = 0

    def run(self, plan: StepPlan) -> Any:
        """The inner one's tokens."""
        kind = kind_of(plan.batch.decodes, plan.batch.rows)
        own = predicted_ns(self._full, plan) - predicted_ns(self._device, plan)
        self._clock.advance(self._changed.host.get(kind, Change()).of(own))
        after = predicted_after_ns(self._full, plan)
        self._after = self._changed.after.get(kind, Change()).of(after)
        return self._inner.run(plan)

    def noted(self, event: Event) -> None:
        """The engine's journal: when a step is through, what follows takes its time."""
        if event.what == "step":
            self._clock.advance(self._after)

    def copy(self, copies: Any) -> None:
        """The inner one's."""
        self._inner.copy(copies)


class Sleeping:
    """Steps that take their time, by the wall clock."""

    def __init__(self, clock: Clock, curves: Curves) -> None:
        self._clock, self._curves = clock, curves

    def run(self, plan: StepPlan) -> Any:
        """Nothing is computed."""
        until = self._clock.now_ns() + predicted_ns(self._curves, plan)
        tokens = FakeExecutor(FakeClock(), self._curves).run(plan)
        time.sleep(max(0.0, (until - self._clock.now_ns()) / 1e9))
        return tokens

    def copy(self, copies: Any) -> None:
        """There is nothing to copy."""


class FakeCard:
    """A card that is none."""

    def identity(self) -> dict[str, str]:
        """`gpu_name`, `driver`, `uuid`."""
        return {"gpu_name": "none (a fake)", "driver": "none", "uuid": "none"}

    def telemetry(self) -> dict[str, Any]:
        """Nothing is known."""
        return {"sm_mhz": None, "memory_mhz": None, "watts": None, "slowed_by": None}


@dataclass
class FakeBench:
    """`serve.bench.Bench` without a GPU."""

    blocks: int
    """Of the global pool."""
    windows: int
    """Of the local pool."""
    distortion: Distortion = field(default_factory=Distortion)
    is_timed: bool = False
    """Under the wall clock: steps sleep, as the curves say."""
    profile: Profile | None = None
    """Says what of a step is the engine's own time; without it none is."""
    card: Card = field(default_factory=FakeCard)
    vocab: int = 1000

    def fit(self, limits: Limits, context: int) -> Setting:
        """As many blocks and windows as it was made with."""
        fitted = limits._replace(windows=self.windows if limits.windows else 0)
        return Setting(fitted, self.blocks, reserve_pages(fitted), context)

    def serve(self, setting: Setting, curves: Curves, inside: int, wrap: Wrap) -> Served:
        """An engine on a clock that stands at 0."""
        clock: Clock
        journal: Journal | None = None
        if self.is_timed:
            clock = WallClock()
            executor = wrap(Sleeping(clock, curves), clock)
        else:
            clock = fake = FakeClock()
            device = self._device(curves, setting.limits)
            distorted = wrap(Distorted(fake, device, self.distortion), fake)
            executor = delayed = Delayed(distorted, fake, (curves, device), self.distortion)
            journal = delayed.noted
        sizes = setting.sizes(inside)
        return Served(Engine(setting.limits, curves, sizes, executor, clock, journal), clock)

    def _device(self, curves: Curves, limits: Limits) -> Curves:
        """Without the engine's own time."""
        if self.profile is None:
            return curves
        return curves_for(without_engine(self.profile), limits)

    def versions(self) -> dict[str, Any]:
        """None."""
        return {}

    def close(self) -> None:
        """Nothing is held."""
