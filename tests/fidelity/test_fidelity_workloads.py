"""Workloads: always the same from the same recipe, of the shape that they are said to have."""

import json
from pathlib import Path

import numpy as np
import pytest
import zstandard
from fidelity_small import chat, crowd

from calibrate.engine.memory.pages import Piece
from calibrate.fidelity.workload import Message, Tokens, read_workload, write_workload
from calibrate.fidelity.workloads.catalogue import (
    NAMES,
    Asked,
    check_name,
    make,
    recipe_of,
    seconds_of,
)
from calibrate.fidelity.workloads.sessions import dialogues
from calibrate.fidelity.workloads.traces import SOURCES, sample_of
from kaiju_sim.errors import UserError


def test_the_same_seed_gives_the_same_messages() -> None:
    once, again, other = (dialogues(60.0, 3.0, seed, {"name": "x"}) for seed in (1, 1, 2))
    assert once == again
    assert once.digest() == again.digest()
    assert once.digest() != other.digest()


def test_dialogues_have_the_published_shape_and_exactly_the_rate() -> None:
    workload = dialogues(60.0, 30.0, 3, {"name": "x"})
    prompts = np.array([m.prompt for m in workload.messages])
    assert len(prompts) == 1800
    assert prompts.mean() == pytest.approx(5600, rel=0.02)
    assert workload.outputs.mean() == pytest.approx(140, rel=0.05)
    assert 0 <= workload.messages[0].arrival_ns < 1_000_000_000
    assert 29e9 < workload.messages[-1].arrival_ns < 30e9
    assert len(workload.warm) > 1900
    turns = [m.turn for m in workload.messages if m.session == workload.messages[0].session]
    assert turns == sorted(turns)
    assert all(sum(p.blocks for p in m.path) == m.prompt // 128 for m in workload.messages)


def test_a_workload_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "workload.parquet"
    for workload in (chat(), crowd(names=False)):
        write_workload(file, workload)
        assert read_workload(file) == workload
    assert file.stat().st_size < 100_000
    file.write_bytes(b"PAR1")
    with pytest.raises(UserError, match="is not a workload"):
        read_workload(file)


def test_equal_names_mean_equal_tokens() -> None:
    tokens = Tokens(vocab=50, block=4)
    head = Piece(3, 2)
    one = tokens.of(Message(0, 14, 1, 0, 0, (head, Piece(5, 1))), 7)
    other = tokens.of(Message(0, 13, 1, 0, 0, (head, Piece(6, 1))), 8)
    assert (len(one), len(other)) == (14, 13)
    assert (one[:8] == other[:8]).all()
    assert (one[8:12] != other[8:12]).any()
    assert (one[12:13] != other[12:13]).any() or (one[:4] != one[4:8]).any()
    assert one.min() >= 0
    assert one.max() < 50


def test_a_burst_is_a_spike_on_a_base() -> None:
    asked = Asked(seconds=12.0)
    workload = make(recipe_of("burst", asked, 40.0, lambda _: 1.0), Path())
    at = workload.arrivals_ns / 1e9
    inside = (at >= 4.8) & (at < 6.8)
    assert inside.sum() / 2 == pytest.approx(60, rel=0.25)
    assert (~inside).sum() / 10 == pytest.approx(20, rel=0.25)
    assert len(at) / 12 == pytest.approx(workload.recipe["load"] * 40, rel=0.02)


def test_capacity_is_all_messages_at_once() -> None:
    workload = make(recipe_of("capacity", Asked(seconds=3.0), None, lambda _: 1.0), Path())
    assert set(workload.arrivals_ns.tolist()) == {0}
    assert len(workload.messages) == 225


def test_a_share_of_the_capacity_needs_the_capacity() -> None:
    with pytest.raises(UserError, match="--workload capacity"):
        recipe_of("poisson-70", Asked(), None, lambda _: 1.0)
    assert recipe_of("poisson-70", Asked(), 50.0, lambda _: 1.0)["rate"] == pytest.approx(35)
    assert seconds_of("poisson-95", Asked()) == 180
    with pytest.raises(UserError, match="must be one of"):
        check_name("poisson")


def traces(folder: Path) -> Path:
    """Made-up traces under the names of the public ones: one request in ten is too long."""
    rng = np.random.default_rng(1)
    mooncake, azure = [], ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for i in range(1200):
        tokens = 40_000 if i % 10 == 9 else int(rng.integers(600, 5000))
        ids = [i % 5, *range(1000 + i * 100, 1000 + i * 100 + -(-tokens // 512) - 1)]
        row = {"timestamp": i // 3 * 3000, "input_length": tokens, "output_length": 20}
        mooncake.append(json.dumps({**row, "hash_ids": ids}))
        azure.append(f"2023-11-16 18:{i // 60:02}:{i % 60:02}.0000000,{tokens % 3000 + 1},20")
    for name, lines in (("mooncake", mooncake), ("azure", azure)):
        file = folder / SOURCES[name].file
        file.parent.mkdir(parents=True)
        text = "\n".join(lines) + "\n"
        file.write_bytes(zstandard.ZstdCompressor().compress(text.encode()))
    return folder


@pytest.mark.parametrize("name", ["mooncake", "azure"])
def test_a_slice_of_a_trace_in_other_time(name: str, tmp_path: Path) -> None:
    data = traces(tmp_path)
    asked = Asked(seconds=10.0, data=data)
    seen = []

    def capacity(workload: object) -> float:
        seen.append(workload)
        return 20.0

    recipe = recipe_of(name, asked, None, capacity)
    workload = make(recipe, data)
    assert workload == make(recipe, data)
    assert len(workload.messages) == 140  # 70 % of 20 messages/s
    assert max(m.prompt + m.output for m in workload.messages) <= 32_768
    assert (np.diff(workload.arrivals_ns) >= 0).all()
    assert 9e9 < workload.arrivals_ns[-1] < 10e9
    assert len(sample_of(name, data, 32_768, 128).messages) == len(seen[0].messages) > 100  # type: ignore[attr-defined]
    has_names = name == "mooncake"
    assert bool(workload.warm) == has_names
    assert (workload.recipe["left_out"] > 10) == has_names
    firsts = {m.path[0].stream for m in workload.messages if m.path}
    assert len(firsts) == (5 if has_names else 0)
    for m in workload.messages:
        assert sum(piece.blocks for piece in m.path) <= m.prompt // 128


def test_a_trace_that_is_missing_or_too_short_is_told(tmp_path: Path) -> None:
    asked = Asked(seconds=10.0, data=tmp_path)
    with pytest.raises(UserError, match="KAIJU_SHARED"):
        recipe_of("mooncake", asked, None, lambda _: 1.0)
    data = traces(tmp_path)
    recipe = recipe_of("azure", Asked(seconds=60.0, data=data), None, lambda _: 50.0)
    with pytest.raises(UserError, match="more than the trace has"):
        make(recipe, data)


def test_the_public_traces_fill_their_slices(shared_data: Path) -> None:
    """At a rate near what one GPU takes; only where the public traces are."""
    for name, rate in (("mooncake", 8.0), ("azure", 40.0)):
        recipe = recipe_of(name, Asked(data=shared_data), None, lambda _, r=rate: r)  # type: ignore[misc]
        workload = make(recipe, shared_data)
        assert len(workload.messages) == round(recipe["rate"] * recipe["seconds"])
        assert workload.pieces <= 20
    assert set(SOURCES) <= set(NAMES)
