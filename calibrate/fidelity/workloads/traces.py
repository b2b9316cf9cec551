"""Slices of public traces, brought to one engine's size by rescaling their time.

The order of requests, their lengths, and what they share stay as they are: only time runs faster or
slower, by one factor. What is longer than the kernels' limit is left out and counted. What the
trace had before the slice is in the cache when it begins.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.memory.pages import Piece
from calibrate.fidelity.workload import Message, Names, Workload
from kaiju_sim.errors import UserError
from kaiju_sim.workload.replay import spread_times
from kaiju_sim.workload.traces import PrefixPaths, Trace, prefix_paths, read_trace


@dataclass(frozen=True)
class Source:
    """A trace, and the part of it that is served."""

    file: str
    """Below the folder of public traces."""
    spread_ns: int
    """The grid of its time stamps: requests are spread evenly over it."""
    start_s: float
    """Where the slice begins."""
    warm_s: float
    """So much of the trace before it is in the cache."""


SOURCES = {
    "mooncake": Source(
        "mooncake/conversation_trace.t0-2400s.jsonl.zst", 3_000_000_000, 600.0, 300.0
    ),
    "azure": Source("azure-llm-2023/AzureLLMInferenceTrace_conv.before-1855.csv.zst", 0, 60.0, 0.0),
}
SAMPLE = 400
"""Messages from which a trace's capacity is estimated, to choose its rate."""


def sample_of(name: str, data: Path, context: int, block: int) -> Workload:
    """The slice's first messages, all at once: what an engine's capacity for them is found with."""
    trace, paths, kept = _opened(name, data, context)
    here = _after(trace, kept, SOURCES[name].start_s)[:SAMPLE]
    recipe = {"name": name, "seconds": 1.0, "warm_s": 0.0}
    names = Names()
    warm = _warm(name, trace, paths, kept, block, names)
    return Workload([_message(trace, paths, i, 0, block, names) for i in here], warm, recipe)


def trace_slice(recipe: dict[str, Any], data: Path) -> Workload:
    """The workload of a recipe: `rate` messages/s for `seconds`. UserError if the trace is missing
    or too short."""
    name, context, block = recipe["name"], recipe["context"], recipe["block_tokens"]
    trace, paths, kept = _opened(name, data, context)
    source = SOURCES[name]
    here = _after(trace, kept, source.start_s)
    count = round(recipe["rate"] * recipe["seconds"])
    if len(here) <= count:
        raise UserError(
            f"{name}: {count} messages after {source.start_s:g} s are more than the trace has "
            f"({len(here)}): choose fewer --seconds"
        )
    begin, end = trace.arrival_ns[here[0]], trace.arrival_ns[here[count]]
    factor = recipe["seconds"] * 1e9 / float(end - begin)
    names = Names()
    warm = _warm(name, trace, paths, kept, block, names)
    at = ((trace.arrival_ns[here[:count]] - begin) * factor).astype(np.int64)
    messages = [
        _message(trace, paths, i, int(t), block, names)
        for i, t in zip(here[:count], at, strict=True)
    ]
    passed = np.flatnonzero((trace.arrival_ns >= begin) & (trace.arrival_ns < end))
    known = {
        "left_out": int((~kept[passed]).sum()), "trace_messages": len(passed),
        "trace_seconds": float(end - begin) / 1e9, "trace_sha256": trace.sha256,
    }  # fmt: skip
    return Workload(messages, warm, {**recipe, **known})


def _opened(name: str, data: Path, context: int) -> tuple[Trace, PrefixPaths, NDArray[np.bool_]]:
    source = SOURCES[name]
    file = data / source.file
    if not file.is_file():
        raise UserError(
            f"--workload {name}: there is no {file} (the folder of public traces: --data, or "
            "KAIJU_SHARED)"
        )
    trace = read_trace(file)
    trace = replace(trace, arrival_ns=spread_times(trace.arrival_ns, source.spread_ns))
    fits = trace.prompt_tokens + trace.output_tokens <= context
    return trace, prefix_paths(trace), fits


def _after(trace: Trace, kept: NDArray[np.bool_], start_s: float) -> NDArray[np.int64]:
    return np.flatnonzero(kept & (trace.arrival_ns >= start_s * 1e9))


def _warm(
    name: str, trace: Trace, paths: PrefixPaths, kept: NDArray[np.bool_], block: int, names: Names
) -> list[Message]:
    start, length = SOURCES[name].start_s, SOURCES[name].warm_s
    since, until = (start - length) * 1e9, start * 1e9
    here = np.flatnonzero(kept & (trace.arrival_ns >= since) & (trace.arrival_ns < until))
    return [_message(trace, paths, int(i), 0, block, names)._replace(output=1) for i in here]


def _message(
    trace: Trace, paths: PrefixPaths, i: int, at: int, block: int, names: Names
) -> Message:
    prompt, room = int(trace.prompt_tokens[i]), int(trace.prompt_tokens[i]) // block
    pieces = []
    for stream, blocks in paths.row(i):
        here = min(blocks * trace.block_tokens // block, room)
        pieces.append(Piece(names.of(stream), here))
        room -= here
    return Message(at, prompt, int(trace.output_tokens[i]), i, 0, tuple(pieces))
