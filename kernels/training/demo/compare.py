"""What each trick does to the loss: runs that differ in one thing, over several seeds."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kernels.model.state.files import renamed
from kernels.training.demo.export import Served, agreement, state_of
from kernels.training.demo.options import Options, Tricks
from kernels.training.demo.teacher import teach
from kernels.training.demo.train import Run, Say
from kernels.training.distill.store import discard

RESULTS = "compare.json"
PLAIN = Tricks("bf16", "bf16", "constant", False, 0.0, "fp32", 2)
"""bf16, static clamps, gradients put together exactly: what all is compared with."""
QAT = replace(PLAIN, forward="int8", clamping="values")

ARMS: dict[str, Tricks] = {
    "bf16": PLAIN,
    "int8": QAT,
    "int8, input gradient too": replace(QAT, input_gradient="int8"),
    "int8, virtual scalars": replace(QAT, scalars=True),
    "int8, limit of the weights": replace(QAT, clamping="weights"),
    "int8, constant limits": replace(QAT, clamping="constant"),
    "int8, no clamping": replace(QAT, clamping="none"),
    "bf16, z-reg": replace(PLAIN, z_weight=1e-4),
    "bf16, bf16 gradients": replace(PLAIN, gradients="bf16"),
    "bf16, squinch": replace(PLAIN, gradients="squinch"),
    "bf16, squinch stochastic": replace(PLAIN, gradients="squinch", stochastic=True),
    "bf16, squinch with feedback": replace(PLAIN, gradients="squinch", feedback=True),
    "all": Tricks(),
}
"""By name. Distillation is beside these: its teacher is the bf16 run."""
DISTILLATION = "distillation"
SCRATCH, STUDENT = "short run", "short run, distilled"


class Outcome(NamedTuple):
    """One run of one arm."""

    arm: str
    seed: int
    held_out: float
    step_ms: float
    """Median."""
    curve: list[dict[str, Any]]


def outcome(arm: str, run: Run) -> Outcome:
    """Of a run that is over."""
    times = [1e3 * row["seconds"] for row in run.rows]
    held = [row["held_out"] for row in run.rows if row["held_out"] is not None]
    return Outcome(arm, run.options.seed, held[-1], statistics.median(times), run.rows)


def one(arm: str, options: Options, device: str, say: Say) -> tuple[Outcome, Run]:
    """Train one."""
    say(f"{arm}, seed {options.seed}")
    run = Run(options, device)
    run.train(say=lambda line: say(f"  {line}") if "held out" in line else None)
    return outcome(arm, run), run


def compare(
    base: Options, seeds: Sequence[int], folder: Path, device: str, say: Say, *,
    arms: Sequence[str] | None = None, k: int = 16, checked: int = 4,
) -> dict[str, Any]:  # fmt: skip
    """Train every arm with every seed, a teacher's student too, and compare served logits; written
    to `folder` after each seed."""
    named = [*ARMS, DISTILLATION] if arms is None else list(arms)
    if unknown := set(named) - {*ARMS, DISTILLATION}:
        known = ", ".join([*ARMS, DISTILLATION])
        raise ValueError(f"arms: {sorted(unknown)}: must be among {known}")
    chosen = [arm for arm in ARMS if arm in named or (arm == "bf16" and DISTILLATION in named)]
    found: list[Outcome] = []
    about: dict[str, Any] = {"agreement": [], "distillation": []}
    for seed in seeds:
        for arm in chosen:
            options = replace(base, tricks=ARMS[arm], seed=seed)
            result, run = one(arm, options, device, say)
            found.append(result)
            about.setdefault("run", run.about())
            if arm in ("int8", "all"):
                about["agreement"].append(_agreed(arm, run, checked))
            if arm == "bf16" and DISTILLATION in named:
                students, storage = _distilled(run, folder / f"targets-{seed}", k, device, say)
                found += students
                about["distillation"].append(storage)
        _write(folder, base, found, about)
    return summary(found)


def _agreed(arm: str, run: Run, windows: int) -> dict[str, Any]:
    """Train against serve, on held-out text; nothing where kernels cannot run."""
    from kernels.common.device import is_interpreted

    if run.device.type != "cuda" and not is_interpreted():
        return {"arm": arm, "seed": run.options.seed, "skipped": "no GPU"}
    served = Served(run.config, state_of(run.model))
    tokens = run.corpus.batch(run.corpus.held_out[:windows])[:, :-1][:, :512]
    return {"arm": arm, "seed": run.options.seed, **agreement(run.model, served, tokens)._asdict()}


def _distilled(
    teacher: Run, folder: Path, k: int, device: str, say: Say
) -> tuple[list[Outcome], dict[str, Any]]:
    """A student of a quarter of the steps, and the same run from the text."""
    discard(folder)  # of a comparison before
    storage = teach(teacher, folder, k, say)
    short = replace(teacher.options, steps=max(1, teacher.options.steps // 4))
    pair = [one(SCRATCH, short, device, say)[0]]
    pair.append(one(STUDENT, replace(short, targets=str(folder)), device, say)[0])
    return pair, storage


def summary(found: Sequence[Outcome]) -> dict[str, Any]:
    """For each arm the held-out losses of its seeds, how far their mean is from that of bf16, and
    the time of a step beside it."""
    arms: dict[str, Any] = {}
    for arm in dict.fromkeys(o.arm for o in found):
        mine = [o for o in found if o.arm == arm]
        losses = [o.held_out for o in mine]
        arms[arm] = {
            "losses": losses, "mean": statistics.mean(losses),
            "spread": statistics.stdev(losses) if len(losses) > 1 else None,
            "step_ms": statistics.median(o.step_ms for o in mine),
        }  # fmt: skip
    if "bf16" in arms:
        base = arms["bf16"]
        for each in arms.values():
            each["loss_gap"] = each["mean"] / base["mean"] - 1
            each["speed"] = base["step_ms"] / each["step_ms"]
    return arms


def _write(folder: Path, base: Options, found: list[Outcome], about: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "options": base.as_dict(), "arms": summary(found), **about,
        "cuda": torch.version.cuda, "outcomes": [o._asdict() for o in found],
    }  # fmt: skip
    with renamed(folder / RESULTS) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
