"""Measures: every run that is asked for and not there yet, workload by workload."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from calibrate.bench import Bench
from calibrate.fidelity.compare.figures import CAPACITY_METRICS, MEAN, capacity, figures
from calibrate.fidelity.curves import curves_for
from calibrate.fidelity.outcome import Outcome
from calibrate.fidelity.serve.drive import drive
from calibrate.fidelity.serve.fake import FakeBench
from calibrate.fidelity.store import Store
from calibrate.fidelity.workload import Workload
from calibrate.fidelity.workloads.catalogue import (
    CAPACITY,
    NEEDS_CAPACITY,
    Asked,
    make,
    recipe_of,
    seconds_of,
)
from calibrate.fidelity.workloads.rules import limits_of
from calibrate.measure.talk import Talk
from calibrate.provenance import commit, software
from kaiju_sim.engine.limits import Limits
from kaiju_sim.errors import UserError
from kaiju_sim.steptime.profile import Profile

Open = Callable[[], Bench]
Print = Callable[[str], None]
OPEN_S, AROUND_S = 90.0, 8.0
"""For the plan: to load a model and capture its steps, and before and after each run."""


@dataclass(frozen=True)
class Task:
    """One run."""

    name: str
    number: int


@dataclass
class Measuring:
    """The runs of a command."""

    profile: Profile
    store: Store
    asked: Asked
    talk: Talk
    opened: Open
    given_capacity: float | None = None
    """Messages/s, where it is not measured."""
    _bench: Bench | None = field(default=None, init=False)

    def run(self, names: Sequence[str], repeats: int, out: Print) -> list[Task]:
        """Measure what is missing; what was measured. `out`: prints the plan."""
        tasks = [t for t in tasks_of(names, repeats) if t.number not in self.store.runs(t.name)]
        for line in self.plan(names, tasks):
            out(line)
        total = sum(self._seconds(task) for task in tasks)
        done = 0.0
        with ExitStack() as last, self.talk.bar():
            last.callback(self._close)
            for task in tasks:
                self._one(task, done, total)
                done += self._seconds(task)
        return tasks

    def plan(self, names: Sequence[str], tasks: Sequence[Task]) -> list[str]:
        """What will be measured, and about how long it takes."""
        lines = []
        for name in names:
            number = sum(task.name == name for task in tasks)
            there = len(self.store.runs(name))
            seconds = seconds_of(name, self.asked)
            lines.append(f"{name}: {seconds:g} s, {number} to run, {there} there")
        total = sum(self._seconds(task) for task in tasks) + (OPEN_S if tasks else 0.0)
        return [*lines, f"about {total / 60:.1f} minutes with a model to load"]

    def prepare(self, name: str) -> Workload:
        """The saved workload, or a new one, saved."""
        found = self.store.load_workload(name)
        if found is None:
            capacity_ = self.given_capacity or self.capacity()
            recipe = recipe_of(name, self.asked, capacity_, self._simulated_capacity)
            found = make(recipe, self.asked.data)
            self.store.save_workload(found)
        wanted = {"seed": self.asked.seed, "seconds": seconds_of(name, self.asked)}
        for key, value in wanted.items():
            if found.recipe[key] != value:
                raise UserError(
                    f"{name} was made with {key} {found.recipe[key]:g}, not {value:g} "
                    "(--fresh begins anew)"
                )
        return found

    def capacity(self) -> float | None:
        """Measured messages/s of the published shape, the mean of its runs; None before that."""
        runs = [self.store.load_run(CAPACITY, n) for n in self.store.runs(CAPACITY)]
        found = [_completed(run.outcome) for run in runs]
        return sum(found) / len(found) if found else None

    def _one(self, task: Task, done: float, total: float) -> None:
        workload = self.prepare(task.name)
        if self._bench is None:
            self.talk.say("opening the model: weights, kernels, graphs")
            self._bench = self.opened()
        setting = self._bench.fit(self._limits(workload), workload.recipe["context"])
        length = self._seconds(task)

        def tell(fraction: float) -> None:
            so_far = done + fraction * length
            self.talk.progress(f"{task.name}, run {task.number}", so_far / total, total - so_far)

        tell(0.0)
        run = drive(
            self._bench, setting, curves_for(self.profile, setting.limits), workload,
            ahead=task.name == CAPACITY, tell=tell,
        )  # fmt: skip
        info = {**self._info(workload), "telemetry": run.telemetry}
        self.store.save_run(task.name, task.number, run, setting, info)
        self.talk.say(said(task, figures(run.outcome, workload)))

    def _limits(self, workload: Workload) -> Limits:
        recipe = workload.recipe
        return limits_of(
            self.profile.model, workload.pieces, one_pool=recipe["one_pool"],
            is_trace=recipe["is_trace"],
        )  # fmt: skip

    def _info(self, workload: Workload) -> dict[str, Any]:
        assert self._bench is not None
        revision, modified = commit()
        return {
            "recipe": dict(workload.recipe), "digest": workload.digest(),
            "profile": self.profile.id, "card": self._bench.card.identity(),
            "versions": software(self._bench.versions()), "commit": revision,
            "modified": modified, "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip

    def _simulated_capacity(self, workload: Workload) -> float:
        limits = self._limits(workload)
        bench = fake_bench(self.profile)
        setting = bench.fit(limits, workload.recipe["context"])
        run = drive(bench, setting, curves_for(self.profile, limits), workload)
        return _completed(run.outcome)

    def _seconds(self, task: Task) -> float:
        return seconds_of(task.name, self.asked) + AROUND_S

    def _close(self) -> None:
        if self._bench is not None:
            self._bench.close()


def _completed(outcome: Outcome) -> float:
    """Messages/s while messages wait; UserError where hardly any did."""
    found = capacity(outcome).get((CAPACITY_METRICS[0], MEAN))
    if found is None:
        raise UserError("the capacity cannot be told: too few messages had to wait (--seconds)")
    return found


def tasks_of(names: Sequence[str], repeats: int) -> list[Task]:
    """Runs in the order in which they are made: the capacity first, then all workloads once before
    any is repeated; those with other pools after the others."""
    first = [Task(CAPACITY, k) for k in range(1, repeats + 1) if CAPACITY in names]
    rest = [name for name in names if name != CAPACITY]
    for is_other in (False, True):
        mine = [name for name in rest if (name == "mooncake") == is_other]
        first += [Task(name, k) for k in range(1, repeats + 1) for name in mine]
    return first


def with_capacity(names: Sequence[str], store: Store, given: float | None) -> list[str]:
    """The names, and the capacity's where a rate is a share of it and it is not known."""
    known = given is not None or CAPACITY in names or bool(store.runs(CAPACITY))
    needed = [n for n in names if n in NEEDS_CAPACITY and store.load_workload(n) is None]
    return [*names] if known or not needed else [CAPACITY, *names]


def fake_bench(profile: Profile) -> FakeBench:
    """An engine without a GPU, with the pools of the engine that was measured."""
    kv = profile.kv_blocks
    if kv is None:
        raise UserError(f"profile {profile.id} does not say what pools its engine had")
    return FakeBench(kv.global_blocks, max(1, kv.local_windows - 40), profile=profile)


def said(task: Task, found: Any) -> str:
    """A run in a line."""
    if task.name == CAPACITY:
        rates = [found.get((metric, MEAN)) for metric in CAPACITY_METRICS]
        return f"{task.name}: " + ", ".join("-" if r is None else f"{r:.2f}/s" for r in rates)
    ttft = ", ".join(f"{found.get(('ttft', q), 0) * 1e3:.1f}" for q in ("p50", "p90", "p99"))
    return f"{task.name}, run {task.number}: TTFT {ttft} ms (p50, p90, p99)"
