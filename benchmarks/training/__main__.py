"""The training side, measured on one NVIDIA GPU: `python -m benchmarks.training`.

Figures and every sample go to benchmarks/results/. `--demo FOLDER` takes over what
`python -m kernels.training.demo compare --out FOLDER` found. `--report` shows what must be reached
and what is, from the files; `--plots FOLDER` draws the demo's curves; `--publish` takes the
speeds over into the simulator's package data. `--codes` prints the errors of gradient codes,
without a GPU.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.kernels.asked import gpu_of, say
from benchmarks.kernels.store import RESULTS, read, read_json
from benchmarks.training import aims, store
from benchmarks.training.publish import publish


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--only", default="", metavar="REGEX", help="cases whose name matches")
    parser.add_argument("--list", action="store_true", help="names of the cases, and no more")
    parser.add_argument("--report", action="store_true", help="show the files, measure nothing")
    parser.add_argument("--demo", type=Path, metavar="FOLDER", help="take over a comparison")
    parser.add_argument("--long", action="store_true", help="of --demo: a longer one beside it")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the demo's curves (SVG)")
    parser.add_argument("--codes", action="store_true", help="errors of gradient codes")
    parser.add_argument("--publish", action="store_true", help="speeds to the simulator's data")
    parser.add_argument("--seconds", type=float, default=1.0, help="timing of a case (default 1)")
    parser.add_argument("--commit", help="the commit that runs, where git cannot tell")
    parser.add_argument("--gpu", help="of which there are files (default: the only one)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the files")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    return parser.parse_args(arguments)


def verdicts(gpu: str, folder: Path) -> list[aims.Verdict]:
    """All aims."""
    demo = read_json(store.path(gpu, ".json", folder, demo=True))
    kernels = aims.of_kernels(read(store.path(gpu, ".parquet", folder)))
    long = store.others(store.LONG, folder).get(gpu)
    longer = aims.of_demo(long) if long else []
    ranks = aims.of_ranks(store.others(store.RANKS, folder))
    return [*kernels, *aims.of_demo(demo), *longer, *ranks]


def report(gpu: str, found: argparse.Namespace) -> None:
    """The table of aims, and drawings if they are wanted."""
    listed = verdicts(gpu, found.results)
    if found.plots:
        draw(gpu, found.results, found.plots)
    if found.format == "json":
        sys.stdout.write(json.dumps([v._asdict() for v in listed]) + "\n")
    else:
        sys.stdout.write(aims.text(listed))


def draw(gpu: str, folder: Path, out: Path) -> None:
    """The demo's curves."""
    from kernels.training.demo.plots import drawings

    out.mkdir(parents=True, exist_ok=True)
    for name, drawing in drawings(store.outcomes(gpu, folder)).items():
        (out / f"training-{name}.svg").write_text(drawing, encoding="utf-8")
        say(f"wrote {out / f'training-{name}.svg'}")


def codes() -> None:
    """The table of gradient codes."""
    from benchmarks.training.measure import code_errors

    for row in code_errors():
        sys.stdout.write(
            f"{row['gradients']:24s} {row['code']:22s} {row['bits']:5.2f} bits  "
            f"L2 {row['relative_l2']:.4f}  |ln| {row['log_error']:.4f}  "
            f"cosine {row['cosine']:.5f}  lost {row['lost']:.4f}\n"
        )


def measure(found: argparse.Namespace) -> int:
    """Measure, save, show; 1 if something failed."""
    from benchmarks.training.cases import every_case
    from benchmarks.training.layers import layer_cases
    from benchmarks.training.measure import run

    known = [*every_case(), *layer_cases()]
    cases = [case for case in known if re.search(found.only, case.name)]
    if found.list:
        sys.stdout.writelines(f"{case.name}\n" for case in cases)
        return 0
    got = run(cases, found.seconds, found.commit, say)
    store.save(got["gpu"], got["rows"], got["samples"], got["about"], found.results)
    for failure in got["about"]["failures"]:
        say(f"failed: {failure}")
    report(got["gpu"], found)
    return 1 if got["about"]["failures"] else 0


def take_demo(found: argparse.Namespace) -> None:
    """A comparison's files become ours."""
    from benchmarks.kernels.gpu import slug

    compared = store.read_compared(found.demo / "compare.json")
    gpu = slug(compared["run"]["device"])
    name = f"{store.LONG if found.long else ''}{gpu}"
    store.save_demo(name, compared, found.results)
    say(f"wrote {store.path(name, '.parquet', found.results, demo=True)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked for; 2 if that cannot be done."""
    found = options(arguments)
    try:
        if found.codes:
            codes()
        if found.demo:
            take_demo(found)
        if found.publish:
            publish(gpu_of(found.gpu, found.results, store.measured(found.results)), found.results)
        if found.report:
            report(gpu_of(found.gpu, found.results, store.measured(found.results)), found)
        if found.codes or found.demo or found.report or found.publish:
            return 0
        return measure(found)
    except ValueError as error:
        say(f"error: {error}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
