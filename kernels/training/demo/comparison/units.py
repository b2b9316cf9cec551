"""One unit of a comparison: a run of one arm with one seed, and for a teacher its students."""

import statistics
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kernels.training.demo.comparison.arms import ARMS, SCRATCH, SERVED, STUDENT
from kernels.training.demo.export import Served, agreement, state_of
from kernels.training.demo.options import Options
from kernels.training.demo.teacher import teach
from kernels.training.demo.train import Run, Say
from kernels.training.distill.store import discard


class Setting(NamedTuple):
    """What all units of a comparison have in common."""

    base: Options
    folder: Path
    device: str
    k: int = 16
    """Tokens of each distribution that a teacher writes."""
    checked: int = 16
    """Windows on which served logits are compared."""
    jobs: int = 1
    """Units that run at a time."""


class Unit(NamedTuple):
    """What one process does at a time."""

    seed: int
    arm: str
    teaches: bool = False
    """A student of this run is trained, too: it needs its targets."""

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Names of the runs."""
        return (self.arm, SCRATCH, STUDENT) if self.teaches else (self.arm,)


class Outcome(NamedTuple):
    """One run of one arm."""

    arm: str
    seed: int
    held_out: float
    step_ms: float
    """Median."""
    curve: list[dict[str, Any]]
    tricks: dict[str, Any]
    jobs: int
    """Units that ran at a time: with more than one, times are those of a shared device."""


class Done(NamedTuple):
    """What a unit gave."""

    unit: Unit
    outcomes: list[Outcome]
    run: dict[str, Any]
    """Where they come from."""
    agreement: dict[str, Any] | None
    """Of served logits."""
    distillation: dict[str, Any] | None
    """What a teacher's targets take."""


class Failed(NamedTuple):
    """Why a unit gave nothing."""

    unit: Unit
    error: str


def attempt(unit: Unit, setting: Setting, say: Say) -> Done | Failed:
    """Train a unit. Whatever goes wrong is its own matter: the others are to go on."""
    try:
        with _one_thread():
            return train_unit(unit, setting, say)
    except Exception as error:  # noqa: BLE001
        say(traceback.format_exc())
        return Failed(unit, f"{type(error).__name__}: {error}")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums on a CPU depend on how many threads share them; so all units have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_unit(unit: Unit, setting: Setting, say: Say) -> Done:
    """The run, what is served of it, and its students."""
    options = replace(setting.base, tricks=ARMS[unit.arm], seed=unit.seed)
    first, run = one(unit.arm, options, setting, say)
    agreed = _agreed(unit, run, setting.checked) if unit.arm in SERVED else None
    students, storage = _distilled(run, setting, say) if unit.teaches else ([], None)
    return Done(unit, [first, *students], run.about(), agreed, storage)


def one(arm: str, options: Options, setting: Setting, say: Say) -> tuple[Outcome, Run]:
    """Train one."""
    run = Run(options, setting.device)
    mark = f"[{arm}, seed {options.seed}]"
    run.train(say=lambda line: say(f"{mark} {line}") if "held out" in line else None)
    return outcome(arm, run, setting.jobs), run


def outcome(arm: str, run: Run, jobs: int = 1) -> Outcome:
    """Of a run that is over."""
    times = [1e3 * row["seconds"] for row in run.rows]
    held = [row["held_out"] for row in run.rows if row["held_out"] is not None]
    tricks = asdict(run.options.tricks)
    seed, middle = run.options.seed, statistics.median(times)
    return Outcome(arm, seed, held[-1], middle, run.rows, tricks, jobs)


def _agreed(unit: Unit, run: Run, windows: int) -> dict[str, Any]:
    """Train against serve, on held-out text; nothing where kernels cannot run."""
    from kernels.common.device import is_interpreted

    if run.device.type != "cuda" and not is_interpreted():
        return {"arm": unit.arm, "seed": unit.seed, "skipped": "no GPU"}
    served = Served(run.config, state_of(run.model))
    tokens = run.corpus.batch(run.corpus.held_out[:windows])[:, :-1][:, :512]
    found = agreement(run.model, served, tokens)
    return {"arm": unit.arm, "seed": unit.seed, **found._asdict()}


def _distilled(teacher: Run, setting: Setting, say: Say) -> tuple[list[Outcome], dict[str, Any]]:
    """A student of a quarter of the steps, and the same run from the text."""
    seed = teacher.options.seed
    folder = setting.folder / f"targets-{seed}"
    discard(folder)  # of a comparison before
    storage = teach(teacher, folder, setting.k, lambda line: say(f"[teacher, seed {seed}] {line}"))
    short = replace(teacher.options, steps=max(1, teacher.options.steps // 4))
    pair = [one(SCRATCH, short, setting, say)[0]]
    pair.append(one(STUDENT, replace(short, targets=str(folder)), setting, say)[0])
    return pair, {"seed": seed, **storage}
