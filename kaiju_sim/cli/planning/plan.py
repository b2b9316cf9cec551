"""`kaiju-sim plan SCENARIO`: the cheapest fleet that meets the objectives; docs/plan.md.

Only parses and prints; the search is `kaiju_sim.planner.plans`'.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaiju_sim.cli.options import Address, Output, Seed, Set, WhereOption, With, Workers, settings
from kaiju_sim.cli.simulating import executing, load, tell_if_cold
from kaiju_sim.cli.talk import Talk
from kaiju_sim.errors import UserError

if TYPE_CHECKING:
    from kaiju_sim.planner.plans.plan import Asked

DEFAULT = Path("runs") / "plan"


def plan(
    scenario: Annotated[
        str, typer.Argument(help="Scenario file, or the name of one in scenarios/.")
    ],
    with_: With = None,
    set_: Set = None,
    seed: Seed = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only the fleet as stated: exit 0, 3 it fails, 4 undecided."),
    ] = False,
    format: Annotated[Output, typer.Option(help="A page for people, or JSON.")] = Output.TEXT,
    workers: Workers = 2,
    executor: WhereOption = None,
    address: Address = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder that keeps replications (runs/plan)."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> int:
    """The fewest GPUs that meet the objectives, what binds, and how sure that is.

    A plan that was stopped goes on where it was: replications are kept by a hash of what they
    depend on.
    """
    from kaiju_sim.planner.plans.plan import Asked
    from kaiju_sim.simulation import warm_up
    from kaiju_sim.store import Store

    loaded = load(scenario, with_ or [], settings(set_, seed))
    talk = Talk(quiet)
    tell_if_cold(talk)
    folder = Store((output or DEFAULT) / "kept").folder
    warm_up()
    asked = Asked(loaded.scenario, loaded.base_dir, folder, workers, talk.say)
    try:
        with executing(executor, workers, address) as where:
            asked = replace(asked, executor=where)
            return _check(asked, format) if check else _plan(asked, output or DEFAULT, format)
    except UserError as error:
        raise loaded.located(error) from error


def _plan(asked: "Asked", folder: Path, format: Output) -> int:
    from kaiju_sim.planner.plans.document import document
    from kaiju_sim.planner.plans.plan import make_plan
    from kaiju_sim.report.atomic import write_file
    from kaiju_sim.report.planning.plan import print_plan

    found = document(make_plan(asked))
    write_file(folder / f"{found['scenario']}.json", _json(found).encode())
    if format is Output.JSON:
        sys.stdout.write(_json(found))
    else:
        print_plan(found, sys.stdout)
    return 0


def _check(asked: "Asked", format: Output) -> int:
    from kaiju_sim.planner.plans.check import check
    from kaiju_sim.planner.plans.document import checked
    from kaiju_sim.report.planning.plan import check_line

    found = check(asked)
    shown = checked(found)
    sys.stdout.write(_json(shown) if format is Output.JSON else f"{check_line(shown)}\n")
    return found.exit_code


def _json(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=2, allow_nan=False) + "\n"
