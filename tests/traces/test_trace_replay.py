"""RAGPulse chunks and ServeGen draws through the simulator."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kaiju_sim.errors import UserError
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate
from kaiju_sim.workload.replay import load_rows
from kaiju_sim.workload.traces import read_trace
from kaiju_sim.workload.traces.reuse import ideal_reuse

ROOT = Path(__file__).resolve().parents[2]


def replay(file: Path, *sets: str) -> Scenario:
    """The shipped replay scenario with another trace, on one replica with room for everything."""
    name = f"traffic.trace.file={file}"
    return load_scenario(
        ROOT / "scenarios" / "replay.yaml", sets=[name, "fleet.replicas=1", *sets]
    ).scenario


@pytest.mark.parametrize("page", [1, 16, 64])
def test_chunks_hit_as_far_as_whole_kv_blocks_go(page: int, shared_data: Path) -> None:
    """One after the other on one replica: the ideal, less what rounding to KV blocks costs."""
    file = shared_data / "ragpulse" / "0_trace.week1.jsonl.zst"
    trace = read_trace(file, max_rows=80)
    s = replay(file, "traffic.trace.max_rows=80", f"kv.block_tokens={page}", "run.epoch=5s")
    s = s.model_copy(update={"results": s.results.model_copy(update={"tick": 1000.0})})
    rows = simulate(s, base_dir=ROOT / "scenarios", engine="reference").requests
    assert rows.num_rows == 80
    cached = rows["cached_tokens"].to_numpy()
    hits = ideal_hits(trace.rows, file)
    alone = np.diff(rows["arrival_s"].to_numpy(), prepend=-100) > 20
    assert alone.sum() > 30
    assert (cached[alone] == hits[alone] // page * page).all()
    assert (cached <= hits).all()
    whole = ideal_reuse(trace).token_hit * trace.lengths().sum()
    assert hits.sum() == pytest.approx(whole)


def ideal_hits(rows: int, file: Path) -> np.ndarray:
    """Tokens of leading chunks that an endless cache holds, row by row."""
    trace = read_trace(file, max_rows=rows)
    lengths, seen, hits, at = trace.lengths(), set[int](), [], 0
    for blocks in trace.row_blocks():
        held = [block in seen for block in blocks]
        count = held.index(False) if False in held else len(held)
        hits.append(int(lengths[at : at + count].sum()))
        seen.update(blocks)
        at += len(blocks)
    return np.array(hits)


def test_fits_are_drawn_for_as_long_as_the_run_lasts(shared_data: Path) -> None:
    file = shared_data / "servegen" / "deepseek-r1.trace.parquet"
    cut = ("run.horizon=20s", "traffic.trace.client_scale=0.1", "traffic.trace.start=20h")
    s = replay(file, *cut)
    rows = load_rows(s, ROOT / "scenarios")
    assert rows is not None
    assert rows.arrival_ns[-1] < 20e9
    assert rows.arrival_ns.size == pytest.approx(20 * 0.1 * 19, rel=0.5)
    other = load_rows(s.model_copy(update={"seed": 2}), ROOT / "scenarios")
    assert other is not None
    assert other.arrival_ns.tolist() != rows.arrival_ns.tolist()
    result = simulate(s, base_dir=ROOT / "scenarios", engine="reference")
    assert isinstance(result.requests, pa.Table)
    assert result.summary["requests.arrived"] == rows.arrival_ns.size


def test_a_stretch_of_a_trace_is_replayed(shared_data: Path) -> None:
    file = shared_data / "ragpulse" / "0_trace.week1.jsonl.zst"
    rows = load_rows(
        replay(file, "traffic.trace.start=1d", "traffic.trace.duration=1h"), ROOT / "scenarios"
    )
    assert rows is not None
    assert rows.arrival_ns[0] == 0
    assert rows.arrival_ns[-1] < 3600e9
    late = replay(file, "traffic.trace.start=30d")
    with pytest.raises(UserError, match="no rows in this stretch"):
        load_rows(late, ROOT / "scenarios")
