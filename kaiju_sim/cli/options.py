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
Seed = Annotated[int | None, typer.Option(help="Seed, in place of the scenario's.")]


def settings(set_: list[str] | None, seed: int | None) -> list[str]:
    """All values that are changed, the seed's too."""
    return [*(set_ or []), *([] if seed is None else [f"seed={seed}"])]


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
