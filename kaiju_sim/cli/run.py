"""`kaiju-sim run SCENARIO`: simulate, write the run directory, print the answer.

Everything heavy is imported when it is needed: help and mistakes answer at once.
"""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaiju_sim.cli.options import (
    Address,
    Output,
    Seed,
    Set,
    WhereOption,
    With,
    Workers,
    settings,
)
from kaiju_sim.cli.simulating import Engine, load, running, simulate
from kaiju_sim.cli.talk import Talk
from kaiju_sim.errors import UserError

if TYPE_CHECKING:
    from kaiju_sim.metrics.result import RunResult
    from kaiju_sim.scenario.loader import Loaded


MOST_REPLICATIONS = 10_000


def run(
    scenario: Annotated[
        str, typer.Argument(help="Scenario file, or the name of one in scenarios/.")
    ],
    with_: With = None,
    set_: Set = None,
    seed: Seed = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Run directory (default: runs/NAME-SEED)."),
    ] = None,
    format: Annotated[Output, typer.Option(help="A page for people, or summary.json.")] = (
        Output.TEXT
    ),
    workers: Workers = 1,
    executor: WhereOption = None,
    address: Address = None,
    replications: Annotated[
        int, typer.Option(min=1, max=MOST_REPLICATIONS, help="Independent runs, for intervals.")
    ] = 1,
    engine: Annotated[Engine, typer.Option(help="Compiled loop, or its slow twin.")] = (
        Engine.COMPILED
    ),
    report: Annotated[bool, typer.Option(help="Write report.html.")] = True,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the resolved scenario and stop.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Simulate a scenario: latency, hit rate, GPUs, cost per message."""
    started = datetime.now(UTC)
    sets = settings(set_, seed)
    loaded = load(scenario, with_ or [], sets)
    if explain:
        _print_explained(loaded)
        return
    target = _target(loaded, output)
    talk = Talk(quiet)
    with running(executor, workers, address) as where:
        result = simulate(loaded, replications, workers, engine, talk, where)
    options: dict[str, Any] = {
        "workers": workers,
        "engine": engine.value,
        "replications": replications,
    }
    if executor is not None:
        options["executor"] = executor.value
    _write(loaded, result, target, started, options, report)
    _print(loaded, result, format)
    talk.say(f"written to {target}")


def _print_explained(loaded: "Loaded") -> None:
    from kaiju_sim.fleet.setup.groups import build_groups
    from kaiju_sim.scenario.explain import render
    from kaiju_sim.steptime.build import described

    try:
        groups = build_groups(loaded.scenario, loaded.base_dir)
    except UserError as error:
        raise loaded.located(error) from error
    lines = [f"# step time: {described(g.step_time)}; KV blocks: {g.kv.source}\n" for g in groups]
    sys.stdout.write(render(loaded) + "".join(dict.fromkeys(lines)))


def _target(loaded: "Loaded", output: Path | None) -> Path:
    """Where the run goes, checked before any time is spent on simulating."""
    from kaiju_sim.report.rundir import check_target

    scenario = loaded.scenario
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", scenario.name).strip("-.") or "run"
    return check_target(Path("runs") / f"{slug}-{scenario.seed}" if output is None else output)


def _write(
    loaded: "Loaded",
    result: "RunResult",
    target: Path,
    started: datetime,
    options: dict[str, Any],
    report: bool,
) -> None:
    from kaiju_sim.report import provenance
    from kaiju_sim.report.rundir import write_run

    text = loaded.to_yaml()
    origin = provenance.collect(
        text,
        result.summary,
        seed=loaded.scenario.seed,
        profile_sha256=provenance.profile_hash(loaded.scenario, loaded.base_dir),
        command=["kaiju-sim", *sys.argv[1:]],
        started=started,
        options=options,
    )
    write_run(result, text, origin, target, report=report)


def _print(loaded: "Loaded", result: "RunResult", format: Output) -> None:
    if format is Output.JSON:
        from kaiju_sim.report.rundir import summary_text

        sys.stdout.write(summary_text(result.summary))
        return
    from kaiju_sim.report.console import print_summary

    title = f"{loaded.scenario.name}, seed {loaded.scenario.seed}"
    print_summary(result.summary, sys.stdout, title, result.intervals)
