"""Options that stand before the verb, and what several verbs have."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

import kaiju_sim

With = Annotated[
    list[str] | None, typer.Option("--with", metavar="NAME", help="Apply a named override.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change one value.")
]
Workers = Annotated[
    int, typer.Option(min=1, max=1024, help="Processes, or CPUs of a Ray that is started here.")
]
Address = Annotated[
    str | None,
    typer.Option(help="Ray cluster to join: HOST:PORT, or auto (without: one is started here)."),
]
Seed = Annotated[int | None, typer.Option(help="Seed, in place of the scenario's.")]


def settings(set_: list[str] | None, seed: int | None) -> list[str]:
    """All values that are changed, the seed's too."""
    return [*(set_ or []), *([] if seed is None else [f"seed={seed}"])]


class Where(StrEnum):
    """What runs the tasks; the results are the same."""

    INPROCESS = "inprocess"
    POOL = "pool"
    RAY = "ray"


WhereOption = Annotated[
    Where | None,
    typer.Option("--executor", help="What runs the tasks (default: a pool if --workers > 1)."),
]


class Output(StrEnum):
    """What goes to stdout."""

    TEXT = "text"
    JSON = "json"


def _print_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"kaiju-sim {kaiju_sim.__version__}\n")
        raise typer.Exit()


def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print and exit."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """How many GPUs, at what cost per message: simulates an LLM chat fleet message by message."""
