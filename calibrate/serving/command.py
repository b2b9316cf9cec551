"""The command line of `python -m calibrate serve`."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from kaiju_sim import units
from kaiju_sim.catalog.models import find_model
from kaiju_sim.errors import UserError

TINY_BUDGET, TINY_SEQS = 128, 8
"""The tiny model's rules, where none are given."""
_Policy = Literal["decode_first", "prefill_first", "ttft_aware"]


def serve(
    model: Annotated[str, typer.Option(help="Model, by catalog name.")] = "kaiju-13b",
    weights: Annotated[
        Path | None,
        typer.Option(help="Checkpoint (safetensors: file, index or folder); default: random."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    rules: Annotated[
        Path | None, typer.Option(help="Scenario whose engine, kv and slo are obeyed.")
    ] = None,
    policy: Annotated[_Policy | None, typer.Option(help="Instead of the scenario's.")] = None,
    token_budget: Annotated[int | None, typer.Option(help="Likewise: tokens of a step.")] = None,
    max_seqs: Annotated[int | None, typer.Option(help="Likewise: sequences of a batch.")] = None,
    candidates: Annotated[int | None, typer.Option(help="Likewise: of a message.")] = None,
    prefix_cache: Annotated[bool | None, typer.Option(help="Likewise.")] = None,
    host_memory: Annotated[
        str | None, typer.Option(help="Likewise: for KV that leaves HBM, such as 64GiB.")
    ] = None,
    guide: Annotated[Path | None, typer.Option(help="How candidates are judged (YAML).")] = None,
    kv_memory: Annotated[
        str | None, typer.Option(help="HBM for KV, such as 20GiB; default: all that is left.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="Step times that rules predict with: an id or a file.")
    ] = None,
    inside: Annotated[
        int, typer.Option(min=1, max=100_000, help="Requests taken at most, else 429.")
    ] = 1024,
    drain: Annotated[str, typer.Option(help="For what is inside, when it is stopped.")] = "30s",
    tiny: Annotated[
        bool, typer.Option("--tiny", help="A tiny model on the CPU, to try it out: slow.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Serve a model over HTTP, by the very scheduler that is simulated: /v1/completions."""
    from calibrate.engine.served.seam import Wanted
    from calibrate.gpu.opening import open_served
    from calibrate.serving import live
    from calibrate.serving.rules import curves_of, guide_of, host_of, limits_of, rules_of

    drain_s, kv_bytes = _seconds(drain), _size("--kv-memory", kv_memory)
    if tiny and rules is None:
        token_budget = TINY_BUDGET if token_budget is None else token_budget
        max_seqs = TINY_SEQS if max_seqs is None else max_seqs
    obeyed = rules_of(
        rules, policy=policy, token_budget=token_budget, max_seqs=max_seqs, candidates=candidates,
        prefix_cache=prefix_cache, host_memory=_size("--host-memory", host_memory),
    )  # fmt: skip
    catalog = None if tiny else find_model(model)
    if tiny:  # before Triton is imported
        os.environ.setdefault("TRITON_INTERPRET", "1")
    limits, curves = limits_of(obeyed), curves_of(obeyed, profile)
    judging, behind = guide_of(obeyed, guide), host_of(obeyed, profile)
    wanted = Wanted(catalog, weights, limits, curves, inside, behind, judging, kv_bytes)
    say = _silence if quiet else _say
    live.serve(open_served(wanted, say), host, port, drain_s, _out, say)


def _seconds(text: str) -> float:
    try:
        return units.seconds(text)
    except ValueError as error:
        raise UserError(f"--drain: {error}") from None


def _size(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else units.byte_count(text)
    except ValueError as error:
        raise UserError(f"{option}: {error}") from None


def _out(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


def _silence(line: str) -> None:
    """Says nothing."""
