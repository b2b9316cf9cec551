"""The seam to what serves a workload: empty engines on a model on a GPU, or without one.

`calibrate.gpu.serve.replay` implements it on torch, `calibrate.fidelity.serve.fake` on a clock.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

from calibrate.engine.clock import Clock
from calibrate.engine.engine import Engine, Sizes
from calibrate.engine.executor import Executor
from calibrate.measure.seam import Card
from kaiju_sim.engine.limits import Limits
from kaiju_sim.errors import UserError
from kaiju_sim.steptime.curves import Curves


@dataclass(frozen=True)
class Setting:
    """One replica: as the engine was built, and as the simulator is."""

    limits: Limits
    blocks: int
    """Of the global pool; the local pool's windows are in the limits."""
    reserve: int
    """Pages of the engine's local pool beside its windows."""
    context: int
    """Tokens of a sequence at most."""

    def sizes(self, inside: int) -> Sizes:
        """For an engine that takes so many requests."""
        return Sizes(self.blocks, self.reserve, self.context, inside)

    def as_json(self) -> dict[str, Any]:
        """Of plain values."""
        return {**asdict(self), "limits": self.limits._asdict()}


def setting_of(value: Mapping[str, Any]) -> Setting:
    """From `as_json`; UserError for what is none."""
    try:
        return Setting(**{**value, "limits": Limits(**value["limits"])})
    except (KeyError, TypeError) as error:
        raise UserError(f"the run's setting cannot be read: {error}") from error


Wrap = Callable[[Executor, Clock], Executor]
"""Puts an executor of one's own around the engine's."""


class Served(NamedTuple):
    """An engine with its clock."""

    engine: Engine
    clock: Clock


class Bench(Protocol):
    """Makes empty engines, one after the other."""

    card: Card
    is_timed: bool
    """Whether time passes by itself, so that messages have to be handed in when they are due."""
    vocab: int

    def fit(self, limits: Limits, context: int) -> Setting:
        """The pools and limits of an engine that is asked for `limits`; with `windows` 0 local KV
        lives with the global blocks."""

    def serve(self, setting: Setting, curves: Curves, inside: int, wrap: Wrap) -> Served:
        """An empty engine of this setting, ready: nothing is compiled or captured while it runs."""

    def versions(self) -> dict[str, Any]:
        """Of what runs on the GPU."""

    def close(self) -> None:
        """Give everything back."""
