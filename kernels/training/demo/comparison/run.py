"""A comparison from its options to its file."""

from collections.abc import Sequence
from typing import Any

from kernels.training.demo import corpus
from kernels.training.demo.comparison.arms import ARMS, DISTILLATION, chosen
from kernels.training.demo.comparison.results import Results
from kernels.training.demo.comparison.units import Failed, Setting, Unit
from kernels.training.demo.comparison.workers import ended
from kernels.training.demo.train import Say


def units(names: Sequence[str], seeds: Sequence[int]) -> list[Unit]:
    """What there is to do, in the order of the file."""
    teaches = DISTILLATION in names
    arms = [arm for arm in ARMS if arm in names or (arm == "bf16" and teaches)]
    return [Unit(seed, arm, teaches and arm == "bf16") for seed in seeds for arm in arms]


def compare(
    setting: Setting, seeds: Sequence[int], say: Say, *,
    arms: Sequence[str] | None = None, fresh: bool = False,
) -> tuple[dict[str, Any], list[Failed]]:  # fmt: skip
    """Train every arm with every seed, a teacher's students too, and compare served logits. The
    file's content, and which units failed.

    What is in `setting.folder` is not done again, but with `fresh`. The file is written whenever a
    unit is done. Raises ValueError for what cannot be begun.
    """
    if setting.jobs < 1 or not seeds:
        raise ValueError(f"jobs: {setting.jobs}, seeds: {len(seeds)}: must be at least 1")
    wanted = units(chosen(arms), seeds)
    text = corpus.load(setting.base.corpus, setting.base.sizes.context)
    results = Results(setting, text.sha256)
    if not fresh:
        results.take_up()
    missing = [unit for unit in wanted if not results.has(unit)]
    if len(missing) < len(wanted):
        say(f"{len(wanted) - len(missing)} of {len(wanted)} runs are done already")
    failed = []
    for end in ended(missing, setting, say):
        if isinstance(end, Failed):
            failed.append(end)
            say(f"failed: {end.unit.arm}, seed {end.unit.seed}: {end.error}")
            continue
        results.add(end)
        results.write()
    return results.content(), failed
