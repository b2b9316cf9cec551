"""The seam to the GPU: all that the job asks of it.

`calibrate.gpu.rig.make_rig` implements it on torch; tests have a double with its own clock. Any
method may raise `kaiju_sim.errors.UserError` for what the user can mend (no memory, no GPU).
Nothing here may change the card's settings: no clock, power limit, persistence or MIG command.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from calibrate.shapes import EngineStep, Limits, StepShape
from kaiju_sim.catalog.models import Model


class Timing(NamedTuple):
    """One repetition of a whole step."""

    wall_s: float
    """Host work, GPU, and the tokens back on the host."""
    gpu_s: float
    """Between two GPU events around the same step."""


class StepBench(Protocol):
    """Runs whole model steps."""

    def prepare(self, shape: StepShape) -> None:
        """Fill tables and capture graphs for this shape. Not part of any timing."""

    def run(self, shape: StepShape) -> Timing:
        """One step of the shape that was prepared last; the same work each time."""

    def kv_blocks(self) -> dict[str, int]:
        """The engine's memory plan: `block_tokens` (128), `global` and `local`, pages of a pool."""

    def limits(self) -> Limits:
        """How large a step may be."""

    def close(self) -> None:
        """Give the memory back."""


class OperatorBench(Protocol):
    """Runs single operators of the model on their own, with inputs that do not sit in L2."""

    def names(self) -> tuple[str, ...]:
        """Operators that it knows; others of the design are left out and reported."""

    def run(self, operator: str, shape: dict[str, int]) -> float:
        """Seconds of one call (one layer): one sample, the first call of a shape prepares it."""


class LinkBench(Protocol):
    """Copies between host and GPU, and between GPUs."""

    def copy(self, direction: str, size: int) -> float:
        """Seconds to copy `size` bytes of pinned memory, `to_device` or `to_host`."""

    def all_reduce(self, rows: int) -> float:
        """Seconds of one all-reduce of `[rows, hidden]` activations; asked only if tp > 1."""


class ServingBench(Protocol):
    """The serving engine on the model, under a load that was made for measuring."""

    def run(self, sequences: int, seconds: float) -> list[EngineStep]:
        """So long with so many sequences, who ends being followed by another: each of its steps.
        Numbers of sequences come in rising order."""

    def close(self) -> None:
        """Everybody leaves."""


class Card(Protocol):
    """The GPU, looked at and never touched. With several, rank 0's."""

    def identity(self) -> dict[str, str]:
        """At least `gpu_name`, `driver` and `uuid` (of several GPUs: joined by commas)."""

    def telemetry(self) -> dict[str, Any]:
        """Since the last call: `sm_mhz`, `memory_mhz`, `watts`, `temperature_c`, `slowed_by`.

        Quick (a reading that a thread keeps); None for what is not known; `slowed_by` is the
        reasons for a lowered clock in words, empty if there is none.
        """


@dataclass(frozen=True)
class Request:
    """What to build on the GPU."""

    model: Model
    """Its dimensions, a variant's where one is measured (`calibrate.models.config_of` maps it)."""
    tensor_parallel: int
    """GPUs."""


class Rig(Protocol):
    """A model on a GPU, ready to be measured."""

    card: Card
    steps: StepBench
    operators: OperatorBench
    links: LinkBench
    serving: ServingBench | None
    """None where the engine does not serve such a model (on several GPUs)."""

    def versions(self) -> dict[str, str]:
        """Of torch, triton, cuda and what else ran."""

    def compile_s(self) -> float:
        """Seconds spent on compiling kernels so far, which the budget does not count.

        Capturing graphs is not compiling: it counts.
        """

    def close(self) -> None:
        """Give everything back, on every rank."""
