"""`kaiju-sim gate cache|persona|safety [SCENARIO]`: may a change be served?

Only parses, calls and prints; the gates are `kaiju_sim.evals`' and docs/evals.md tells what they
measure. With `--check`, exit code 3 says that the change is blocked.
"""

import json
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaiju_sim.cli.options import Output, Seed, Set, With, settings
from kaiju_sim.cli.simulating import load
from kaiju_sim.errors import UserError

if TYPE_CHECKING:
    from kaiju_sim.evals.change import Change
    from kaiju_sim.evals.verdict import Verdict
    from kaiju_sim.fleet.setup.build import Plant
    from kaiju_sim.scenario.loader import Loaded

BLOCKED = 3


class Kind(StrEnum):
    """Which gate."""

    CACHE = "cache"
    PERSONA = "persona"
    SAFETY = "safety"


@dataclass(frozen=True)
class Asked:
    """What was asked for, for whichever gate."""

    scenario: str
    overrides: list[str]
    sets: list[str]
    change: "Change | None"
    code: str | None
    """The user's own judge or classifier."""
    examples: Path | None
    rated: Path | None

    @property
    def subject(self) -> str:
        """What is to pass."""
        return self.change.name if self.change else self.code or "as served now"

    def loaded(self, changed: bool = True) -> "Loaded":
        """The scenario, with the change's settings or without."""
        more = self.change.set if self.change and changed else ()
        return load(self.scenario, self.overrides, [*self.sets, *more])


def gate(
    kind: Annotated[Kind, typer.Argument(help="Which gate.")],
    scenario: Annotated[
        str, typer.Argument(help="Scenario file, or the name of one in scenarios/.")
    ] = "baseline",
    change: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="The change: shipped, or a file.")
    ] = None,
    with_: With = None,
    set_: Set = None,
    seed: Seed = None,
    judge: Annotated[
        str | None, typer.Option(metavar="FILE.py:NAME", help="persona: your own judge.")
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(metavar="FILE.py:NAME", help="safety: your own classifier.")
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON lines: conversations, or messages of both sets."),
    ] = None,
    rated: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="persona: JSON lines of conversations people rated."),
    ] = None,
    format: Annotated[Output, typer.Option(help="Tables, or JSON.")] = Output.TEXT,
    check: Annotated[bool, typer.Option("--check", help="Exit code 3 if it is blocked.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> int:
    """Eval gates: may a prompt format, a checkpoint or a classifier be served?"""
    from kaiju_sim.evals.change import load_change

    _fits(kind, judge, classifier, examples, rated)
    asked = Asked(
        scenario,
        with_ or [],
        settings(set_, seed),
        None if change is None else load_change(change),
        judge or classifier,
        examples,
        rated,
    )
    verdict = {Kind.CACHE: _cache, Kind.PERSONA: _persona, Kind.SAFETY: _safety}[kind](asked)
    _print(verdict, format)
    return BLOCKED if check and not verdict.passed else 0


def _fits(
    kind: Kind, judge: str | None, classifier: str | None, examples: Path | None, rated: Path | None
) -> None:
    """UserError for options of another gate, or without what they need."""
    if judge and kind is not Kind.PERSONA:
        raise UserError("--judge is for the persona gate")
    if classifier and kind is not Kind.SAFETY:
        raise UserError("--classifier is for the safety gate")
    if bool(examples) != bool(judge or classifier):
        raise UserError("--examples and --judge or --classifier need each other")
    if rated and not judge:
        raise UserError("--rated needs --judge")


def _cache(asked: Asked) -> "Verdict":
    from kaiju_sim.evals.cache.gate import cache_gate

    return cache_gate(_plant(asked, False), _plant(asked, True), asked.change)


def _plant(asked: Asked, changed: bool) -> "Plant":
    from kaiju_sim.simulation import build_plant

    loaded = asked.loaded(changed)
    try:
        return build_plant(loaded.scenario, loaded.base_dir)
    except UserError as error:
        raise loaded.located(error) from error


def _persona(asked: Asked) -> "Verdict":
    from kaiju_sim.evals import external
    from kaiju_sim.evals.persona.gate import persona_gate, simulated_gate

    scenario = asked.loaded().scenario
    if asked.code is None or asked.examples is None:
        return simulated_gate(scenario.evals.persona, asked.subject, scenario.seed)
    return persona_gate(
        scenario.evals.persona,
        asked.subject,
        external.callable_of(asked.code),
        external.read_conversations(asked.examples),
        external.read_rated(asked.rated) if asked.rated else [],
    )


def _safety(asked: Asked) -> "Verdict":
    from kaiju_sim.evals import external
    from kaiju_sim.evals.safety.gate import safety_gate, simulated_gate

    scenario = asked.loaded().scenario
    if asked.code is None or asked.examples is None:
        return simulated_gate(scenario.evals.safety, asked.subject, scenario.seed)
    return safety_gate(
        scenario.evals.safety,
        asked.subject,
        external.callable_of(asked.code),
        external.read_examples(asked.examples),
    )


def _print(verdict: "Verdict", format: Output) -> None:
    if format is Output.JSON:
        sys.stdout.write(json.dumps(verdict.as_json(), indent=2, allow_nan=False) + "\n")
        return
    from kaiju_sim.report.gates.tables import print_verdict

    print_verdict(verdict, sys.stdout)
