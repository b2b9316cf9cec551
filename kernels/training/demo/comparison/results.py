"""The file of a comparison, `compare.json`: what is done is in it, whatever becomes of the rest."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from kernels.model.state.files import renamed
from kernels.training.demo.comparison.arms import ARMS, SCRATCH, SERVED, STUDENT
from kernels.training.demo.comparison.units import Done, Outcome, Setting, Unit
from kernels.training.demo.train import device_name

FILE = "compare.json"
ORDER = tuple(
    name for arm in ARMS for name in ((arm, SCRATCH, STUDENT) if arm == "bf16" else (arm,))
)
"""Of runs with the same seed."""


class Results:
    """What units gave, in an order that does not depend on which was over first."""

    def __init__(self, setting: Setting, corpus_sha256: str) -> None:
        self.setting, self.corpus = setting, corpus_sha256
        self.outcomes: dict[tuple[int, str], Outcome] = {}
        self.agreements: dict[tuple[int, str], dict[str, Any]] = {}
        self.storage: dict[int, dict[str, Any]] = {}
        self.runs: dict[tuple[int, str], dict[str, Any]] = {}

    @property
    def found(self) -> list[Outcome]:
        """By seed, then by arm."""
        return [self.outcomes[key] for key in sorted(self.outcomes, key=_place)]

    def has(self, unit: Unit) -> bool:
        """Is it done?"""
        served = unit.arm not in SERVED or (unit.seed, unit.arm) in self.agreements
        taught = not unit.teaches or unit.seed in self.storage
        return served and taught and all((unit.seed, n) in self.outcomes for n in unit.outcomes)

    def add(self, done: Done) -> None:
        """One unit more."""
        seed, arm, _ = done.unit
        self.outcomes |= {(seed, o.arm): o for o in done.outcomes}
        self.runs[seed, arm] = done.run
        if done.agreement is not None:
            self.agreements[seed, arm] = done.agreement
        if done.distillation is not None:
            self.storage[seed] = done.distillation

    def content(self) -> dict[str, Any]:
        """Of the file."""
        found = self.found
        first = min(self.runs, key=_place, default=None)
        return {
            **self._what(), "jobs": max((o.jobs for o in found), default=self.setting.jobs),
            "arms": summary(found),
            "agreement": [self.agreements[key] for key in sorted(self.agreements, key=_place)],
            "distillation": [self.storage[seed] for seed in sorted(self.storage)],
            "run": self.runs[first] if first else {}, "cuda": torch.version.cuda,
            "outcomes": [o._asdict() for o in found],
        }  # fmt: skip

    def _what(self) -> dict[str, Any]:
        """What must be the same for results to be of one comparison."""
        own = ("seed", "tricks", "targets")  # of each run
        options = {n: v for n, v in self.setting.base.as_dict().items() if n not in own}
        return {
            "options": options, "k": self.setting.k, "corpus_sha256": self.corpus,
            "device": device_name(torch.device(self.setting.device)),
            "torch": str(torch.__version__),
        }  # fmt: skip

    def write(self) -> None:
        """Whole or not at all."""
        self.setting.folder.mkdir(parents=True, exist_ok=True)
        with renamed(self.setting.folder / FILE) as temporary:
            temporary.write_text(json.dumps(self.content()) + "\n", encoding="utf-8")

    def take_up(self) -> None:
        """Go on from the file, if there is one. Runs of an arm that is no longer what it was are
        left out. Raises ValueError if it is of other options, another text or another device."""
        path = self.setting.folder / FILE
        if not path.exists():
            return
        content = read(path)
        for name, mine in self._what().items():
            if content.get(name) != mine:
                raise ValueError(
                    f"{path}: has {name} {content.get(name)}, this is {mine}: take another folder, "
                    "or begin anew with --fresh"
                )
        for each in content["outcomes"]:
            known = ARMS.get("bf16" if each["arm"] in (SCRATCH, STUDENT) else each["arm"])
            if known is not None and asdict(known) == each["tricks"]:
                self.outcomes[each["seed"], each["arm"]] = Outcome(**each)
        self.agreements = {(a["seed"], a["arm"]): a for a in content["agreement"]}
        self.storage = {d["seed"]: d for d in content["distillation"]}
        first = min(self.outcomes, key=_place, default=None)
        self.runs = {first: content["run"]} if first else {}


def read(path: Path) -> dict[str, Any]:
    """A comparison's file. Raises ValueError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    return dict(found)


def _place(key: tuple[int, str]) -> tuple[int, int]:
    return key[0], ORDER.index(key[1])


def summary(found: Sequence[Outcome]) -> dict[str, Any]:
    """For each arm the held-out losses of its seeds, and how far their mean is from that of bf16;
    where every run had the device for itself, the time of a step, too."""
    arms: dict[str, Any] = {}
    for arm in dict.fromkeys(o.arm for o in found):
        losses = [o.held_out for o in found if o.arm == arm]
        arms[arm] = {
            "losses": losses, "mean": statistics.mean(losses),
            "spread": statistics.stdev(losses) if len(losses) > 1 else None,
        }  # fmt: skip
    if "bf16" in arms:
        for each in arms.values():
            each["loss_gap"] = each["mean"] / arms["bf16"]["mean"] - 1
    if all(o.jobs == 1 for o in found):
        _time(arms, found)
    return arms


def _time(arms: dict[str, Any], found: Sequence[Outcome]) -> None:
    for arm, each in arms.items():
        each["step_ms"] = statistics.median(o.step_ms for o in found if o.arm == arm)
    if "bf16" in arms:
        for each in arms.values():
            each["speed"] = arms["bf16"]["step_ms"] / each["step_ms"]


def table(arms: Mapping[str, Any]) -> str:
    """For people: the mean loss of each arm, and beside bf16 the gap and the speed."""
    lines = []
    for arm, row in arms.items():
        gap = f"{100 * row['loss_gap']:+6.2f} %" if "loss_gap" in row else ""
        speed = f"  {row['speed']:.2f} x" if "speed" in row else ""
        lines.append(f"{arm:30s} {row['mean']:.4f}  {gap}{speed}".rstrip() + "\n")
    return "".join(lines)
