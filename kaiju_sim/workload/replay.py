"""A trace as rows that the data plane can replay."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaiju_sim.engine.layout import Arr
from kaiju_sim.errors import UserError
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.scenario.traffic import TraceFile
from kaiju_sim.workload.traces import (
    PrefixPaths,
    Stretch,
    Trace,
    is_servegen,
    kv_blocks,
    prefix_paths,
    read_trace,
)


@dataclass(frozen=True)
class Rows:
    """Messages of a trace: arrival, lengths, keys for the router, and the path of each."""

    arrival_ns: Arr
    prompt: Arr
    output: Arr
    session: Arr
    """Key of the dialogue: the trace's session, else the character key."""
    character: Arr
    """Dense character key: the trace's character, else its second block (the first is shared)."""
    characters: int
    run_offsets: Arr
    run_stream: Arr
    run_blocks: Arr
    shift: int
    """log2 of the tokens that `run_blocks` counts in: a trace block, or a KV block for chunks."""
    most_runs: int


def no_rows() -> Rows:
    """No trace."""
    none = np.zeros(0, np.int64)
    return Rows(none, none, none, none, none, 0, np.zeros(1, np.int64), none, none, 0, 0)


def spread_times(arrival_ns: Arr, span_ns: int) -> Arr:
    """Arrivals that share a time stamp, spread evenly over the span after it."""
    if span_ns == 0:
        return arrival_ns
    _, first, count = np.unique(arrival_ns, return_index=True, return_counts=True)
    place = np.arange(arrival_ns.size) - np.repeat(first, count)
    step = span_ns // np.repeat(count, count)
    return np.asarray(np.maximum.accumulate(arrival_ns + place * step))


def character_keys(trace: Trace) -> Arr:
    """What stands for the character: its column, else the second block id (or the only one)."""
    if trace.character is not None:
        return trace.character
    if trace.block_ids is None or trace.block_offsets is None:
        return np.arange(trace.rows) if trace.session is None else trace.session
    start, end = trace.block_offsets[:-1], trace.block_offsets[1:]
    has = end > start
    at = np.where(end - start > 1, start + 1, start)
    keys = np.where(has, trace.block_ids[np.minimum(at, trace.block_ids.size - 1)], -1)
    return np.asarray(np.where(has, keys, -2 - np.arange(trace.rows)))


def load_rows(s: Scenario, base_dir: Path) -> Rows | None:
    """The rows that the scenario replays, or None if it replays no trace."""
    spec = s.traffic.trace
    if s.traffic.kind != "replay" or spec is None:
        return None
    if s.fleet.cells > 1:
        raise UserError("a trace is replayed in one cell: set fleet.cells to 1")
    trace = read_trace(
        base_dir / spec.file,
        spec.format,
        max_rows=spec.max_rows,
        block_tokens=spec.block_tokens,
        stretch=stretch_of(s, spec, base_dir / spec.file),
    )
    check_lengths(trace)
    times = spread_times(trace.arrival_ns, int(spec.spread * 1e9))
    paths = prefix_paths(trace)
    names, character = np.unique(character_keys(trace), return_inverse=True)
    session = trace.session if trace.session is not None else character
    runs = np.diff(paths.run_offsets)
    return Rows(
        arrival_ns=(times / spec.rate_scale).astype(np.int64),
        prompt=np.array(trace.prompt_tokens),  # a copy: read-only arrays have another compiled type
        output=np.array(trace.output_tokens),
        session=np.array(session, np.int64),
        character=character.astype(np.int64),
        characters=int(names.size),
        run_offsets=paths.run_offsets,
        run_stream=paths.run_stream,
        run_blocks=run_lengths(trace, paths, s),
        shift=block_shift(trace, s),
        most_runs=int(runs.max()) if runs.size else 0,
    )


def check_lengths(trace: Trace) -> None:
    """Lengths fit the records (int32)."""
    most = int(max(trace.prompt_tokens.max(), trace.output_tokens.max()))
    if most >= 1 << 30:
        raise UserError(f"{trace.name}: a message of {most} tokens; at most {(1 << 30) - 1}")


def stretch_of(s: Scenario, spec: TraceFile, path: Path) -> Stretch:
    """The part of the trace's time to replay; what is drawn from fits ends with the run."""
    duration = spec.duration
    if duration is None and is_servegen(str(path), spec.format):
        duration = s.run.horizon * spec.rate_scale
    return Stretch(spec.start, duration, spec.client_scale, s.seed)


def run_lengths(trace: Trace, paths: PrefixPaths, s: Scenario) -> Arr:
    """Length of each run: in trace blocks, or in KV blocks where a trace has chunks."""
    if trace.block_lengths is not None:
        return kv_blocks(paths, trace, s.kv.block_tokens)
    return np.asarray(paths.run_blocks.astype(np.int64))


def block_shift(trace: Trace, s: Scenario) -> int:
    """log2 of the trace's block; it must hold whole KV blocks."""
    tokens = trace.block_tokens
    if trace.block_ids is None:
        return 0
    if trace.block_lengths is not None:
        return s.kv.block_tokens.bit_length() - 1
    if tokens & (tokens - 1) or tokens < s.kv.block_tokens:
        raise UserError(
            f"kv.block_tokens is {s.kv.block_tokens}, but an id of this trace stands for {tokens}"
            " tokens: it must be a power of two and at least kv.block_tokens"
        )
    return tokens.bit_length() - 1
