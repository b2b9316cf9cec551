"""A rig whose step time is known, on a clock that only it moves: a job takes no real time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from calibrate.design.buckets import bucket_of
from calibrate.measure.seam import Request, Timing
from calibrate.shapes import EngineStep, Limits, StepShape

WINDOW = 1024
COMPILE_S = 40.0
LEAST = 5
H100 = "NVIDIA H100 80GB HBM3"


class FakeClock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def date(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=self.seconds)


class FakeCard:
    """An H100 of that number."""

    def __init__(self, name: str = H100, uuid: str = "GPU-1", driver: str = "580.1") -> None:
        self.about = {"gpu_name": name, "uuid": uuid, "driver": driver}

    def identity(self) -> dict[str, str]:
        return self.about

    def telemetry(self) -> dict[str, Any]:
        known = {"sm_mhz": 1900.0, "memory_mhz": 2619.0, "watts": 600.0, "temperature_c": 60.0}
        return {**known, "slowed_by": "power cap"}


class FakeSteps:
    """Step time: a constant, so much a padded row, a context token and a pair; and noise.

    `shapes` are those that were measured, not only run to warm up.
    """

    def __init__(self, clock: FakeClock, speed: float, noise: float, seed: int) -> None:
        self.clock, self.speed, self.noise = clock, speed, noise
        self.rng = Random(seed)
        self.prepared: StepShape | None = None
        self.runs = 0
        self.shapes: list[StepShape] = []
        self.before_run: Callable[[], None] = lambda: None

    def exact_s(self, shape: StepShape) -> float:
        bucket = bucket_of(shape.rows)
        gpu = 4e-3 + 8e-6 * bucket + 4e-9 * shape.context + 1e-9 * shape.pairs + 3e-6 * shape.seqs
        return (gpu + 1e-9 * shape.window(WINDOW) + 2e-10 * shape.near(WINDOW)) / self.speed

    def prepare(self, shape: StepShape) -> None:
        self.prepared = shape
        self.runs = 0
        self.clock.seconds += 0.02

    def run(self, shape: StepShape) -> Timing:
        assert shape == self.prepared
        self.before_run()
        self.runs += 1
        if self.runs == LEAST:
            self.shapes.append(shape)
        gpu = self.exact_s(shape) * (1 + self.rng.gauss(0, self.noise))
        self.clock.seconds += gpu + 4e-4
        return Timing(gpu + 4e-4, gpu)

    def kv_blocks(self) -> dict[str, int]:
        return {"block_tokens": 128, "global": 400_000, "local": 5184}

    def limits(self) -> Limits:
        return Limits(4096, 512, 32768)

    def close(self) -> None:
        pass


class FakeOperators:
    """Knows the products only."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    def names(self) -> tuple[str, ...]:
        return ("qkv", "o", "up", "down")

    def run(self, operator: str, shape: dict[str, int]) -> float:
        self.clock.seconds += 5e-3
        return 1e-6 * len(operator) + 1e-8 * shape["rows"]


class FakeLinks:
    """50 GB/s and 5 us."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    def copy(self, direction: str, size: int) -> float:
        seconds = 5e-6 + size / 50e9
        self.clock.seconds += seconds
        return seconds

    def all_reduce(self, rows: int) -> float:
        return 1e-5 + 1e-8 * rows


class FakeServing:
    """An engine whose host time is known: so much a step, a sequence, a step with prompts; of a
    few steps much more, as when a graph is captured."""

    step_s, seq_s, prefill_s, prompt_s = 8e-5, 6e-7, 1.5e-4, 1e-4
    after_s, after_seq_s, after_prompt_s = 5e-5, 8e-7, 1e-4

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.rng = Random(3)
        self.asked: list[int] = []

    def run(self, sequences: int, seconds: float) -> list[EngineStep]:
        self.asked.append(sequences)
        end, found = self.clock.seconds + seconds, []
        while self.clock.seconds < end:
            found.append(self._step(sequences))
            self.clock.seconds += found[-1].period_s
        return found

    def _step(self, sequences: int) -> EngineStep:
        filling = min(sequences, self.rng.choice([0, 0, 1, 1, 2]))
        chunks = max(0, filling - (self.rng.random() < 0.2)) if filling > 1 else filling
        rows, decodes = chunks * self.rng.choice([20, 200, 700]), sequences - filling
        host = self.step_s + self.seq_s * sequences
        host += self.prefill_s * (filling > 0) + self.prompt_s * filling
        after = self.after_s + self.after_seq_s * decodes + self.after_prompt_s * filling
        after *= self.rng.choice([0.7, 0.8, 0.9, 1.0, 1.6])
        host *= self.rng.choice([0.7, 0.8, 0.9, 1.0, 1.6])  # skewed, its mean is 1
        host += after
        if self.rng.random() < 0.003:
            host += 0.3
        step_s = 0.012 + 4e-5 * sequences
        return EngineStep(step_s + host, step_s, decodes, filling, chunks, rows, round(after * 1e9))

    def close(self) -> None:
        pass


class FakeRig:
    """All of them."""

    def __init__(
        self,
        clock: FakeClock,
        card: FakeCard | None = None,
        speed: float = 1.0,
        noise: float = 0.003,
        seed: int = 1,
    ) -> None:
        self.clock = clock
        self.card = card or FakeCard()
        self.steps = FakeSteps(clock, speed, noise, seed)
        self.operators = FakeOperators(clock)
        self.links = FakeLinks(clock)
        self.serving = FakeServing(clock)
        self.closed = False

    def opened(self, request: Request) -> "FakeRig":
        self.request = request
        self.clock.seconds += COMPILE_S
        return self

    def versions(self) -> dict[str, str]:
        return {"torch": "2.11.0", "cuda": "13.0"}

    def compile_s(self) -> float:
        return COMPILE_S

    def close(self) -> None:
        self.closed = True
