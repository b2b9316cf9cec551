"""Every figure of the reference file that can be computed, to all the digits that it gives."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from kaiju_sim.workload.traces import analyse, parse_fleet, prefix_paths, read_trace

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
