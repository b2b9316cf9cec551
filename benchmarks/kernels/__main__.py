"""The kernels beside public ones on one NVIDIA GPU: `python -m benchmarks.kernels`.

Each case: our operator is checked against its reference, then timed side by side with the peers
that are installed. Progress goes to stderr, the table of aims to stdout, figures and every sample
to benchmarks/results/. `--report` shows what is there, and needs neither torch nor a GPU.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.kernels import store
from benchmarks.kernels.aims import urgent_first
from benchmarks.kernels.asked import gpu_of, say
from benchmarks.kernels.cases import chosen
from benchmarks.kernels.processes.supervisor import LIMIT_S, Run, worker_command
from benchmarks.kernels.processes.warming import warm
from benchmarks.kernels.report import page, plots, tables


def pattern(text: str) -> str:
    """A regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
    return text


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--only", type=pattern, metavar="REGEX", help="cases whose name matches")
    parser.add_argument("--list", action="store_true", help="names of the cases, and no more")
    parser.add_argument("--report", action="store_true", help="show the files, measure nothing")
    parser.add_argument("--accuracy", action="store_true", help="measure errors, not times")
    parser.add_argument("--profile", action="store_true", help="one call of ours, for ncu")
    parser.add_argument("--seconds", type=float, default=0.6, help="timing of a case (default 0.6)")
    parser.add_argument(
        "--limit", type=float, default=LIMIT_S, help=f"seconds of the whole run ({LIMIT_S:.0f})"
    )
    parser.add_argument("--warm", type=int, default=0, help="processes that compile first, untimed")
    parser.add_argument("--commit", help="the commit that runs, where git cannot tell")
    parser.add_argument("--gpu", help="of which there are files (default: the only one)")
    parser.add_argument("--results", type=Path, default=store.RESULTS, help="folder of the files")
    parser.add_argument(
        "--plots", type=Path, metavar="FOLDER", help="with the report, draw its figures (SVG)"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="put the report between the marks of a page"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    return parser.parse_args(arguments)


def show(gpu: str, arguments: argparse.Namespace) -> None:
    """The report, and the drawings if they are wanted."""
    report: dict[str, Any] = tables.load(gpu, arguments.results)
    drawn = plots.write(report, arguments.plots) if arguments.plots else []
    if arguments.page:
        page.fill(arguments.page, report, drawn)
    for file in [*drawn, *filter(None, [arguments.page])]:
        say(f"wrote {file}")
    if arguments.format == "json":
        sys.stdout.write(json.dumps(report, allow_nan=False) + "\n")
    else:
        sys.stdout.write(tables.text(report))


def measured(arguments: argparse.Namespace) -> int:
    """Measure, save, show."""
    cases = urgent_first(chosen(arguments.only))
    say(f"{len(cases)} cases")
    command = worker_command(arguments.seconds)
    run = Run(command, arguments.results, arguments.commit, say, limit_s=arguments.limit)
    if arguments.warm:
        warm(cases, arguments.warm, say)
    is_whole = run.measure(cases)
    if run.rows:
        show(run.gpu, arguments)
    return 0 if is_whole else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked for."""
    chosen_options = options(arguments)
    if chosen_options.list:
        sys.stdout.writelines(f"{case.name}\n" for case in chosen(chosen_options.only))
        return 0
    if chosen_options.report:
        show(
            gpu_of(
                chosen_options.gpu, chosen_options.results, store.measured(chosen_options.results)
            ),
            chosen_options,
        )
        return 0
    if chosen_options.accuracy:
        from benchmarks.kernels.accuracy import measure

        return measure(chosen_options, say)
    if chosen_options.profile:
        from benchmarks.kernels.processes.worker import profile

        for case in chosen(chosen_options.only):
            profile(case)
        return 0
    return measured(chosen_options)


if __name__ == "__main__":
    sys.exit(main())
