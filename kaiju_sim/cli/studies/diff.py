"""`kaiju-sim diff A B`: what differs between two runs or scenarios, and what is only noise."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaiju_sim.cli.options import Address, Output, Set, WhereOption, With, Workers
from kaiju_sim.cli.simulating import Engine, executing, load, simulate
from kaiju_sim.cli.talk import Talk
from kaiju_sim.errors import UserError

if TYPE_CHECKING:
    from kaiju_sim.diff.sides import Side
    from kaiju_sim.executor.seam import Executor

REPLICATIONS = 5

Words = list[str] | None


def diff(
    a: Annotated[
        str, typer.Argument(help="Run directory, scenario file, or a shipped one's name.")
    ],
    b: Annotated[str, typer.Argument(help="The other one.")],
    with_: With = None,
    set_: Set = None,
    with_a: Annotated[Words, typer.Option(metavar="NAME", help="The same for A.")] = None,
    set_a: Annotated[Words, typer.Option(metavar="PATH=VALUE", help="The same for A.")] = None,
    with_b: Annotated[Words, typer.Option(metavar="NAME", help="The same for B.")] = None,
    set_b: Annotated[Words, typer.Option(metavar="PATH=VALUE", help="The same for B.")] = None,
    replications: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Of a scenario (default: 5, or as many as the run)."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Show every figure.")] = False,
    format: Annotated[Output, typer.Option(help="A page for people, or JSON.")] = Output.TEXT,
    workers: Workers = 1,
    executor: WhereOption = None,
    address: Address = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """What differs between two runs or scenarios: inputs first, then figures with intervals."""
    both, sets = with_ or [], set_ or []
    words_a = ([*both, *(with_a or [])], [*sets, *(set_a or [])])
    words_b = ([*both, *(with_b or [])], [*sets, *(set_b or [])])
    count = replications or _count(a, b)
    talk = Talk(quiet)
    with executing(executor, workers, address) as where:
        side_a = _side(a, words_a, count, where, talk)
        side_b = _side(b, words_b, count, where, talk)
    _print(side_a, side_b, format, every)


def _count(*names: str) -> int:
    """Replications of a scenario: as many as a run has that it is held against."""
    from kaiju_sim.diff.sides import of_directory

    runs = [len(of_directory(Path(name)).seeds) for name in names if Path(name).is_dir()]
    return max(runs, default=REPLICATIONS)


def _side(
    name: str, words: tuple[list[str], list[str]], count: int, where: "Executor", talk: Talk
) -> "Side":
    from kaiju_sim.diff.sides import of_directory, of_result

    if Path(name).is_dir():
        if words[0] or words[1]:
            raise UserError(f"{name} is a run that was made: --set and --with are for scenarios")
        return of_directory(Path(name))
    loaded = load(name, *words)
    result = simulate(loaded, count, where.workers, Engine.COMPILED, talk, where)
    shown = [*(f"--with {word}" for word in words[0]), *(f"--set {word}" for word in words[1])]
    return of_result(" ".join([name, *shown]), loaded, result, count)


def _print(a: "Side", b: "Side", format: Output, every: bool) -> None:
    from kaiju_sim.diff.figures import deltas, pairing
    from kaiju_sim.diff.page import answer, print_diff
    from kaiju_sim.diff.sides import differing

    inputs, rows, how = differing(a, b), deltas(a, b), pairing(a, b)
    if format is Output.TEXT:
        print_diff(a, b, inputs, rows, how, sys.stdout, every)
        return
    found = {
        "a": a.name,
        "b": b.name,
        "answer": answer(rows),
        "pairing": how,
        "replications": min(len(a.seeds), len(b.seeds)),
        "inputs": [{"path": item.path, "a": item.a, "b": item.b} for item in inputs],
        "figures": [row.as_json() for row in rows],
    }
    sys.stdout.write(json.dumps(found, indent=2, allow_nan=False) + "\n")
