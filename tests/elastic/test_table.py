"""The affinity table: who moves, what a drain leaves, how a lost one comes back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elastic_runs import change, changing
from fleet_runs import columns

from kaiju_sim.fleet.elastic import table
from kaiju_sim.fleet.setup.build import build_cell
from kaiju_sim.simulation import build_plant, simulate


def cell_of(characters: int = 400, shards: int = 4, max_copies: int = 3) -> Any:
    """A cell at time 0, nothing in its table."""
    scenario = changing(
        shards,
        change(5.0, "scale", replicas=shards + 2),
        characters={"count": characters},
        router={"max_copies": max_copies},
    )
    return build_cell(build_plant(scenario, Path()), 0, np.zeros(characters, np.int32))


def filled(g: Any, copies: int = 1) -> None:
    """Each character has so many shards, one after the other."""
    rows = np.arange(g.copies.size)
    for i in range(copies):
        g.table[i] = (rows + i) % 4 + 1
    g.copies[:] = copies


def rows_of(g: Any) -> list[set[int]]:
    """The shards of each character, every row checked."""
    found = []
    for row, copies in zip(g.table.T, g.copies, strict=True):
        assert (row[:copies] > 0).all()
        assert (row[copies:] == 0).all()
        assert len(set(row[:copies])) == copies
        found.append({int(x) - 1 for x in row[:copies]})
    return found


@pytest.mark.parametrize("copies", [1, 3])
def test_the_new_shards_part_of_the_entries_moves(copies: int) -> None:
    g = cell_of(characters=3000).routing
    filled(g, copies)
    before = rows_of(g)
    moved = table.plan_moves(g, [4, 5], 4, 17)
    share = 1 - (2 / 3) ** copies  # any of a character's entries, one at a time
    assert abs(moved / 3000 - share) < 4 * (share * (1 - share) / 3000) ** 0.5
    assert rows_of(g) == before
    table.settle_moves(g, [4])
    table.settle_moves(g, [5])
    after = rows_of(g)
    changed = [i for i in range(3000) if before[i] != after[i]]
    assert len(changed) == moved
    for i in changed:
        assert len(after[i] - before[i]) == len(before[i] - after[i]) == 1
        assert after[i] - before[i] <= {4, 5}
    assert not g.moves.any()


def test_a_drain_removes_a_shard_and_its_moves_and_keeps_the_rest() -> None:
    g = cell_of().routing
    filled(g, 2)
    before = rows_of(g)
    table.plan_moves(g, [4], 4, 0)
    table.drop_shards(g, [1, 4])
    assert rows_of(g) == [shards - {1} for shards in before]
    assert not g.moves.any()


def test_a_stored_table_comes_back_before_what_was_learned_but_for_closed_shards() -> None:
    cell = cell_of()
    g = cell.routing
    filled(g, 2)
    stored = table.snapshot(g)
    table.lose(g)
    assert not g.table.any()
    g.table[0, 7], g.copies[7] = 2, 1
    g.table[0, 8], g.copies[8] = 1, 1
    stored.copies[9], stored.table[:, 9] = 0, 0
    g.table[0, 9], g.copies[9] = 2, 1
    cell.world.engine.replicas["active"][2] = 0
    assert table.put_back(cell, stored) == 399
    found = rows_of(g)
    assert found[7:10] == [{3, 0, 1}, {0, 1}, {1}]
    assert g.table[:, 7].tolist() == [4, 1, 2]
    rest = [i for i in range(400) if not 7 <= i < 10]
    assert all(found[i] == {i % 4, (i + 1) % 4} - {2} for i in rest)


def hit_rate(result: Any, start: float, stop: float) -> float:
    """Prefix hit rate of the messages that arrive in [start, stop)."""
    c = columns(result.requests)
    inside = (c["arrival_s"] >= start) & (c["arrival_s"] < stop)
    return float(c["cached_tokens"][inside].sum() / c["prompt_tokens"][inside].sum())


def lossy(recovery: str, **router: Any) -> Any:
    """Long dialogues on eight shards of plentiful memory; the table is lost after 60 s."""
    return simulate(
        changing(
            8,
            change(60.0, "lose_table"),
            run={"warm_up": 20.0, "horizon": 120.0, "epoch": 0.05},
            traffic={
                "messages_per_s": 80.0,
                "sessions": {
                    "live": 400,
                    "turns": {"kind": "geometric", "mean": 30},
                    "think": {"kind": "exponential", "mean": 4.0},
                },
            },
            characters={"count": 60},
            prompt={"limit": 2000},
            engine={"max_context": 2400, "max_seqs": 32, "token_budget": 512},
            kv={"block_tokens": 4, "global_blocks": 200_000, "local_windows": 4000},
            router={"recovery": recovery, "bound": 3.0, "min_load": 40, **router},
        )
    )


@pytest.fixture(scope="module")
def losses() -> dict[str, Any]:
    """A run for each recovery."""
    return {
        "relearn": lossy("relearn"),
        "stored": lossy("stored", recovery_delay=2.0, snapshot_interval=10.0),
        "rebuild": lossy("rebuild", recovery_delay=2.0),
    }


@pytest.mark.parametrize("recovery", ["relearn", "stored", "rebuild"])
def test_the_hit_rate_dips_when_the_table_is_lost_and_recovers(
    losses: dict[str, Any], recovery: str
) -> None:
    run = losses[recovery]
    before, after = hit_rate(run, 40, 60), hit_rate(run, 60, 62)
    assert before > 0.75
    assert after < before - 0.4
    assert hit_rate(run, 90, 120) > before - 0.04


def test_what_is_restored_or_rebuilt_recovers_sooner(losses: dict[str, Any]) -> None:
    """From two seconds on, when both are back, the replicas with the caches are found again."""
    learned, stored, rebuilt = (
        hit_rate(losses[name], 62.2, 64) for name in ("relearn", "stored", "rebuild")
    )
    assert stored > learned + 0.2
    assert rebuilt > learned + 0.2


def test_what_the_caches_hold_is_where_the_dialogues_are(losses: dict[str, Any]) -> None:
    details = [e["detail"] for e in losses["rebuild"].events.to_pylist() if e["kind"] == "table"]
    assert details[0] == "lost"
    words = details[1].split(": ")
    assert words[0] == "rebuilt from the caches"
    assert words[1] in ("59 characters", "60 characters")
