"""Train a small Kaiju: `python -m kernels.training.demo train --size tiny --steps 60 --out run`.

train      one run, with progress, a checkpoint and its curve; goes on where it stopped (--resume)
compare    runs that differ in one trick each, over seeds, with plots
teach      a trained run writes soft targets for a student (then train --targets FOLDER)
export     a trained run as a checkpoint that the inference kernels load
generate   text from an exported checkpoint, by the inference kernels

With `torchrun --nproc-per-node 2 -m kernels.training.demo train ...` each process is a rank.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from kernels.training.demo import plots
from kernels.training.demo.comparison import results
from kernels.training.demo.comparison.run import compare
from kernels.training.demo.comparison.units import Setting
from kernels.training.demo.export import Served, agreement, export, read
from kernels.training.demo.options import SIZES, Options, Tricks
from kernels.training.demo.teacher import teach
from kernels.training.demo.train import CURVE, Run

SAVE_EVERY = 100
TRICKS = {
    "forward": "linear layers and attention: int8 or bf16",
    "input_gradient": "of linear layers: bf16 or int8",
    "clamping": "where the feed-forward's limit comes from: values, weights, constant or none",
    "scalars": "a virtual scalar for each linear layer: yes or no",
    "z_weight": "Z-Reg, of attention and of the head's logits; 0: none",
    "gradients": "how they are exchanged between ranks: squinch, bf16 or fp32",
    "ranks": "how many are rehearsed in one process; with torchrun it is ignored",
    "stochastic": "Squinch rounds stochastically: yes or no",
    "feedback": "Squinch feeds errors back: yes or no",
    "updates": "of linear layers: adam, or ternary, which moves int8 weights by -1, 0 or +1",
    "ternary_rate": "share of the weights that a ternary step moves at the peak of the rate",
}
"""What `--help` says of each."""


def say(line: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m kernels.training.demo", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("verb", choices=("train", "compare", "teach", "export", "generate"))
    parser.add_argument("--out", type=Path, default=Path("training-demo"), help="folder of the run")
    parser.add_argument("--size", choices=tuple(SIZES), default="tiny")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of compare: the first of its seeds")
    parser.add_argument("--seeds", type=int, default=3, help="of compare: how many")
    parser.add_argument("--arms", help="of compare: names of a few, with ; between them")
    parser.add_argument(
        "--jobs", type=int, default=1,
        help="of compare: runs at a time, each in a process; with more than 1 no speed is told",
    )  # fmt: skip
    parser.add_argument(
        "--fresh", action="store_true", help="of compare: do again what its folder has already"
    )
    parser.add_argument("--corpus", default="pydoc", help="pydoc, stdlib or a file of text")
    parser.add_argument("--targets", default="", help="of train: folder of a teacher's targets")
    parser.add_argument("--k", type=int, default=16, help="of teach: tokens of each distribution")
    parser.add_argument("--resume", action="store_true", help="of train: go on from the checkpoint")
    parser.add_argument("--until", type=int, help="of train: stop after this step, to be resumed")
    parser.add_argument("--evaluate-every", type=int, default=50)
    parser.add_argument("--prompt", default="The ", help="of generate")
    parser.add_argument("--bytes", type=int, default=200, help="of generate: how many")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--warm-batches", type=_flag, default=True,
        help="yes (default): begin with a quarter of the batch, for a tenth of the tokens",
    )  # fmt: skip
    tricks = parser.add_argument_group("tricks (of train; compare has its own)")
    for field in fields(Tricks):
        is_flag = isinstance(field.default, bool)
        kind: Any = _flag if is_flag else type(field.default)
        shown = ("yes" if field.default else "no") if is_flag else field.default
        flag = "--" + field.name.replace("_", "-")
        about = f"{TRICKS[field.name]} (default {shown})"
        tricks.add_argument(flag, type=kind, default=field.default, help=about)
    return parser.parse_args(arguments)


def _flag(text: str) -> bool:
    """yes or no."""
    if text not in ("yes", "no", "True", "False"):
        raise argparse.ArgumentTypeError(f"{text!r}: must be yes or no")
    return text in ("yes", "True")


def chosen(arguments: argparse.Namespace) -> Options:
    """The options of a run."""
    tricks = Tricks(**{f.name: getattr(arguments, f.name) for f in fields(Tricks)})
    return Options(
        arguments.size, arguments.steps, arguments.seed, arguments.corpus, tricks,
        arguments.targets, arguments.warm_batches, arguments.evaluate_every,
    )  # fmt: skip


def train(arguments: argparse.Namespace) -> None:
    """One run; a checkpoint every hundred steps and at the end."""
    device, is_rank = arguments.device, "RANK" in os.environ
    if is_rank:
        if device == "cuda":
            device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    folder = arguments.out
    run = (
        Run.resumed(folder, device) if arguments.resume else Run(chosen(arguments), device, folder)
    )
    if not arguments.resume and not run.exchange.rank and folder.exists():
        (folder / CURVE).unlink(missing_ok=True)
    last = min(arguments.until or run.options.steps, run.options.steps)
    talk = say if run.exchange.rank == 0 else None
    while run.step < last:
        run.train(min(last, run.step + SAVE_EVERY - run.step % SAVE_EVERY), talk)
        run.save()
    if is_rank:
        dist.destroy_process_group()
    _draw(folder, {"curve": [{"arm": "run", "curve": run.rows}]})


def _draw(folder: Path, content: dict[str, list[dict[str, Any]]]) -> None:
    for name, outcomes in content.items():
        lines = {o["arm"]: plots.held_out(o["curve"]) for o in outcomes}
        if all(lines.values()):
            drawing = plots.lines_svg("Held-out loss, nats a byte", lines)
            (folder / f"{name}.svg").write_text(drawing, encoding="utf-8")


def run_compare(arguments: argparse.Namespace) -> int:
    """All arms; the table on stdout. 1 if a run failed."""
    setting = Setting(
        chosen(arguments), arguments.out, arguments.device, arguments.k, jobs=arguments.jobs
    )
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    arms = [a.strip() for a in arguments.arms.split(";")] if arguments.arms else None
    found, failed = compare(setting, seeds, say, arms=arms, fresh=arguments.fresh)
    for name, drawing in plots.drawings(found["outcomes"]).items():
        (arguments.out / f"{name}.svg").write_text(drawing, encoding="utf-8")
    sys.stdout.write(results.table(found["arms"]))
    return 1 if failed else 0


def run_export(arguments: argparse.Namespace) -> None:
    """The served checkpoint, compared with the training graph where kernels run."""
    run = Run.resumed(arguments.out, arguments.device)
    path = export(run.model, arguments.out)
    say(f"wrote {path}")
    if _kernels_run(arguments.device):
        served = Served(*read(path, arguments.device))
        tokens = run.corpus.batch(run.corpus.held_out[:4])[:, :-1][:, :512]
        sys.stdout.write(json.dumps(agreement(run.model, served, tokens)._asdict()) + "\n")


def _kernels_run(device: str) -> bool:
    from kernels.common.device import is_interpreted

    return device.startswith("cuda") or is_interpreted()


def generate(arguments: argparse.Namespace) -> None:
    """Text on stdout."""
    if not _kernels_run(arguments.device):
        raise ValueError("generate: takes a GPU, or TRITON_INTERPRET=1 to interpret the kernels")
    served = Served(*read(arguments.out, arguments.device))
    for token in served.generate(arguments.prompt.encode(), arguments.bytes, seed=arguments.seed):
        sys.stdout.write(chr(token))
        sys.stdout.flush()
    sys.stdout.write("\n")


def run_teach(arguments: argparse.Namespace) -> None:
    """Targets of a trained run."""
    run = Run.resumed(arguments.out, arguments.device)
    folder = Path(arguments.targets or arguments.out / "targets")
    sys.stdout.write(json.dumps(teach(run, folder, arguments.k, say)) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked for; 1 if a run of a comparison failed, 2 if it cannot be done, 130 if it
    was interrupted."""
    found = options(arguments)
    verbs: dict[str, Callable[[argparse.Namespace], int | None]] = {
        "train": train, "compare": run_compare, "teach": run_teach, "export": run_export,
        "generate": generate,
    }  # fmt: skip
    try:
        return verbs[found.verb](found) or 0
    except ValueError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("interrupted: what was written stays")
        return 130


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupted)  # so that it ends the workers, too
    sys.exit(main())
