"""The seam to what serves: a model on a GPU (`calibrate.gpu.serve.replay`), or a fake."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from calibrate.engine.clock import Clock
from calibrate.engine.engine import Engine
from calibrate.engine.executor import Executor
from calibrate.fidelity.setting import Setting
from calibrate.measure.seam import Card
from kaiju_sim.engine.limits import Limits
from kaiju_sim.steptime.curves import Curves

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
