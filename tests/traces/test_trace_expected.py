"""Every figure of the reference file that can be computed, to all the digits that it gives."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import zstandard

from kaiju_sim.workload.traces import (
    analyse,
    fit_figures,
    parse_fleet,
    prefix_paths,
    read_fits,
    read_trace,
)
from kaiju_sim.workload.traces.distances import reuse_curve
from kaiju_sim.workload.traces.reuse import lru_reuse

FILES = {
    "mooncake_conversation_dev": "mooncake/conversation_trace.t0-2400s.jsonl.zst",
    "mooncake_synthetic": "mooncake/synthetic_trace.jsonl.zst",
    "azure_conv": "azure-llm-2023/AzureLLMInferenceTrace_conv.before-1855.csv.zst",
    "azure_code": "azure-llm-2023/AzureLLMInferenceTrace_code.before-1855.csv.zst",
}

RAGPULSE = "ragpulse/0_trace.week1.jsonl.zst"


def leaves(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Every value of a nested dictionary under its dotted path."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        here = f"{path}.{key}" if path else key
        flat |= leaves(value, here) if isinstance(value, dict) else {here: value}
    return flat


@pytest.mark.parametrize("name", FILES)
def test_all_figures_equal_the_reference(name: str, shared_data: Path) -> None:
    expected = json.loads((shared_data / "expected.json").read_text())[name]
    trace = read_trace(shared_data / FILES[name])
    start = time.perf_counter()
    figures = analyse(
        trace,
        lru=[int(capacity) for capacity in expected.get("lru", {})],
        fleet=[parse_fleet(text) for text in expected.get("fleet", {})],
    )
    assert time.perf_counter() - start < 15
    got = leaves(figures)
    assert {path: got.get(path) for path in leaves(expected)} == leaves(expected)
    json.dumps(figures, allow_nan=False)


def test_ragpulse_figures_equal_the_reference(shared_data: Path) -> None:
    expected = json.loads((shared_data / "expected.json").read_text())["ragpulse"]
    figures = analyse(read_trace(shared_data / RAGPULSE), iod_s=[60, 600, 3600])
    figures["ideal_prefix_token_hit"] = figures["ideal"]["token_hit"]
    got = leaves(figures)
    assert {path: got.get(path) for path in leaves(expected)} == leaves(expected)


@pytest.mark.parametrize("name", ["m-large", "m-mid", "deepseek-r1"])
def test_servegen_figures_equal_the_reference(name: str, shared_data: Path) -> None:
    expected = json.loads((shared_data / "expected.json").read_text())["servegen"][name]
    figures = fit_figures(read_fits(str(shared_data / "servegen" / f"{name}.trace.parquet")))
    assert {key: figures[key] for key in expected} == expected
    json.dumps(figures, allow_nan=False)


def test_all_of_the_reference_is_covered_but_what_has_no_source(shared_data: Path) -> None:
    """The ShareGPT figures are of raw conversations, which only length tables stand for here."""
    expected = json.loads((shared_data / "expected.json").read_text())
    covered = {*FILES, "ragpulse", "servegen", "definitions"}
    assert set(expected) - covered == {"sharegpt"}
    table = shared_data / "lengths" / "sharegpt_8k_filtered_stats_llama2_tokenizer.csv.zst"
    with zstandard.open(table, "rt") as lines:
        header, *rows = [line.strip().split(",") for line in lines if line.strip()]
    wanted = expected["sharegpt"]
    # Fewer rows than its requests, none as long as its longest, and no conversation or text.
    assert len(rows) == 30_731 < wanted["requests"]
    assert max(float(row[0]) for row in rows) <= 8192 < wanted["input"]["max"]
    assert header == ["num_prefill_tokens", "num_decode_tokens", "num_total_tokens", "pd_ratio"]


@pytest.mark.parametrize("name", ["mooncake_conversation_dev", "mooncake_synthetic"])
def test_one_pass_gives_the_simulated_caches_of_the_reference(name: str, shared_data: Path) -> None:
    """Unrounded: the curve and a cache of that size agree to the last bit."""
    trace = read_trace(shared_data / FILES[name])
    start = time.perf_counter()
    curve = reuse_curve(trace)
    assert time.perf_counter() - start < 5
    assert curve is not None
    for capacity in (1000, 5000, 10_000, 20_000, 50_000):
        assert curve.at(capacity) == lru_reuse(trace, capacity)


def test_prefix_paths_of_a_real_trace_are_quick_and_exact(shared_data: Path) -> None:
    trace = read_trace(shared_data / FILES["mooncake_conversation_dev"])
    start = time.perf_counter()
    paths = prefix_paths(trace)
    assert time.perf_counter() - start < 2
    # Here every id stands behind one prefix only, so distinct blocks are distinct ids.
    assert paths.stream_blocks.sum() == 126_103
    assert paths.run_blocks.sum() == 194_284


def test_a_row_limit_reads_the_front_of_the_file(shared_data: Path) -> None:
    file = shared_data / FILES["mooncake_conversation_dev"]
    whole, part = read_trace(file), read_trace(file, max_rows=100)
    assert part.rows == 100
    assert part.sha256 == whole.sha256
    assert (part.prompt_tokens == whole.prompt_tokens[:100]).all()
    assert part.block_ids is not None
    assert whole.block_ids is not None
    assert (part.block_ids == whole.block_ids[: len(part.block_ids)]).all()
