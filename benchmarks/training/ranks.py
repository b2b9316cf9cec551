"""The demo on two real ranks: Squinch beside bf16 gradients over NCCL, several seeds.

    python -m benchmarks.training.ranks --steps 300 --out ranks     # on a machine with two GPUs
    python -m benchmarks.training.ranks --steps 20 --size tiny --device cpu --out ranks   # gloo

Every run is `torchrun` of `kernels.training.demo train`; `--jobs` of them share the GPUs at a time,
so that times of steps say nothing. Writes `training-demo-ranks-<gpu>.parquet` and `.json` to
`--results`, and a run's folder to `--out`; runs that are there are not done again.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.kernels.asked import say
from benchmarks.kernels.gpu import commit, slug
from benchmarks.kernels.store import RESULTS
from benchmarks.training import store
from kernels.training.demo.comparison.arms import ARMS as KNOWN
from kernels.training.demo.train import CHECKPOINT, CURVE

ARMS = ("bf16, bf16 gradients", "bf16, squinch")


class Asked(NamedTuple):
    """What all runs have in common."""

    size: str
    steps: int
    corpus: str
    device: str
    ranks: int
    out: Path


def command(asked: Asked, arm: str, seed: int, folder: Path) -> list[str]:
    """Of one run."""
    tricks = asdict(KNOWN[arm])
    flags = [
        text
        for name, value in tricks.items()
        for text in (f"--{name.replace('_', '-')}", _text(value))
    ]
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        f"--nproc-per-node={asked.ranks}", "-m", "kernels.training.demo", "train",
        "--size", asked.size, "--steps", str(asked.steps), "--corpus", asked.corpus,
        "--device", asked.device, "--seed", str(seed), "--out", str(folder), *flags,
    ]  # fmt: skip


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def train(asked: Asked, arm: str, seed: int) -> Path:
    """The folder of a run that is over. Raises ValueError with the end of what it said."""
    folder = asked.out / f"{arm.split(', ')[1].replace(' ', '-')}-{seed}"
    if _done(folder, asked.steps):
        return folder
    say(f"{arm}, seed {seed}")
    done = subprocess.run(
        command(asked, arm, seed, folder), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ValueError(f"{arm}, seed {seed}: exit code {done.returncode}: {done.stderr[-2000:]}")
    return folder


def _done(folder: Path, steps: int) -> bool:
    path = folder / CURVE
    return path.exists() and len(path.read_text(encoding="utf-8").splitlines()) == steps


def gathered(folders: dict[tuple[str, int], Path]) -> dict[str, Any]:
    """The runs as a comparison has them."""
    import torch

    from kernels.training.demo.comparison.results import summary
    from kernels.training.demo.comparison.units import Outcome

    outcomes, runs = [], []
    for (arm, seed), folder in folders.items():
        text = (folder / CURVE).read_text(encoding="utf-8")
        curve = [json.loads(line) for line in text.splitlines()]
        found = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=False)
        held = [row["held_out"] for row in curve if row["held_out"] is not None]
        tricks = found["options"]["tricks"]
        outcomes.append(Outcome(arm, seed, held[-1], 0.0, curve, tricks, len(folders)))
        runs.append(found["about"])
    return {
        "arms": summary(outcomes), "run": runs[0], "cuda": torch.version.cuda,
        "outcomes": [o._asdict() for o in outcomes],
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, gather, write; 2 for what cannot be done."""
    found = options(arguments)
    asked = Asked(*(getattr(found, f) for f in Asked._fields))
    pairs = [(arm, seed) for seed in range(found.seeds) for arm in ARMS]
    try:
        with ThreadPoolExecutor(found.jobs) as pool:
            folders = list(pool.map(lambda pair: train(asked, *pair), pairs))
        content = gathered(dict(zip(pairs, folders, strict=True)))
    except ValueError as error:
        say(f"error: {error}")
        return 2
    content |= {
        "commit": found.commit or commit(),
        "command": " ".join(["python -m benchmarks.training.ranks", *sys.argv[1:]]),
    }
    store.save_demo(f"{store.RANKS}{slug(content['run']['device'])}", content, found.results)
    for arm, row in content["arms"].items():
        losses = "  ".join(f"{loss:.4f}" for loss in row["losses"])
        sys.stdout.write(f"{arm:24s} {row['mean']:.4f}  {losses}\n")
    return 0


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.ranks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--size", default="small")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--corpus", default="stdlib")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=3, help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("training-ranks"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the files")
    parser.add_argument("--commit", help="the commit that runs, where git cannot tell")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
