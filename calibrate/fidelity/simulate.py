"""A workload through the simulator's own engine: the compiled loop, as `kaiju-sim run` uses it.

The messages are the rows of a replay. The engine's records are made from the limits and the block
counts that the real engine had, so that nothing of them is worked out twice.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np

from calibrate.bench import Setting
from calibrate.fidelity.outcome import DONE, SHED, Ints, Outcome
from calibrate.fidelity.workload import Message, Workload
from kaiju_sim.engine.layout import Engine
from kaiju_sim.engine.make import make_engine, make_world, power_of_two
from kaiju_sim.engine.policy.kv.host import settle
from kaiju_sim.engine.policy.kv.warmth import remember
from kaiju_sim.fleet.control import CellResult, CellRun
from kaiju_sim.fleet.messages.prompts import TRACE_STREAM, fill_request, stream_of
from kaiju_sim.fleet.records import COMPLETED, Cell
from kaiju_sim.fleet.reference import viewed
from kaiju_sim.fleet.setup.build import Plant, ns
from kaiju_sim.fleet.setup.groups import build_groups
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import data_plane
from kaiju_sim.steptime.curves import Curves
from kaiju_sim.workload.replay import Rows

DRAIN_S = 86_400.0
"""The run ends when the last message has."""
LATER_NS = 1_000_000
"""Arrivals end so long after the last one, if that is handed in after the measured time."""

Pieces = list[tuple[int, int]]


def simulate(
    setting: Setting, curves: Curves, workload: Workload, arrivals_ns: Ints | None = None,
    engine: Literal["compiled", "reference"] = "compiled",
) -> Outcome:  # fmt: skip
    """What the simulator says. `arrivals_ns`: when messages come, if not when they are due."""
    due = workload.arrivals_ns
    at = due if arrivals_ns is None else arrivals_ns
    order = np.argsort(at, kind="stable")
    rows, remembered = _rows(setting, workload, at, order)
    run = CellRun(_plant(setting, curves, workload, rows), 0, data_plane(engine))
    run.cell = _cell(run.cell, setting, curves, workload)
    _remember(run.cell, workload.warm, remembered)
    return _outcome(run.run(), at, order)


def _rows(
    setting: Setting, workload: Workload, at: Ints, order: Ints
) -> tuple[Rows, Sequence[Pieces]]:
    """The messages as rows of a replay, and paths for the prompts that are remembered."""
    stride = setting.limits.stride
    known = (piece.stream for m in (*workload.messages, *workload.warm) for piece in m.path)
    unnamed = count(max(known, default=-1) + 1)
    messages = [workload.messages[i] for i in order]
    paths = [full_path(m, stride, next(unnamed)) for m in messages]
    flat = np.array([piece for path in paths for piece in path], np.int64).reshape(-1, 2)
    numbers = np.arange(len(messages))
    rows = Rows(
        arrival_ns=at[order].astype(np.int64),
        prompt=np.array([m.prompt for m in messages], np.int64),
        output=np.array([m.output for m in messages], np.int64),
        session=numbers.copy(),
        character=np.zeros(len(messages), np.int64),
        characters=1,
        run_offsets=np.arange(len(messages) + 1, dtype=np.int64) * stride,
        run_stream=flat[:, 0].copy(),
        run_blocks=flat[:, 1].copy(),
        shift=setting.limits.shift,
        most_runs=stride,
    )
    return rows, [full_path(m, stride, next(unnamed)) for m in workload.warm]


def full_path(message: Message, stride: int, own: int) -> Pieces:
    """A path that fills all places, as the engine lays it out: the first of several pieces at the
    front, the others at the end; places between have a stream that is nobody else's."""
    path = [(piece.stream, piece.blocks) for piece in message.path]
    none = [(own, 0)] * (stride - len(path))
    return [*path[:1], *none, *path[1:]] if len(path) > 1 else [*none, *path]


def _plant(setting: Setting, curves: Curves, workload: Workload, rows: Rows) -> Plant:
    """One replica that replays rows; its memory and step times are the setting's."""
    limits = setting.limits
    tokens = 1 << limits.shift
    horizon_s = max(workload.seconds, float(rows.arrival_ns[-1] + LATER_NS) * 1e-9)
    scenario = Scenario.model_validate(
        {
            "schema_version": 1,
            "name": "fidelity",
            "run": {
                "warm_up": workload.warm_s, "horizon": horizon_s, "drain": DRAIN_S,
                "start": "cold", "epoch": min(0.1, workload.seconds),
            },
            "traffic": {"kind": "replay", "trace": {"file": "-"}},
            "fleet": {"replicas": 1},
            "router": {"policy": "round_robin"},
            "engine": {
                "token_budget": limits.token_budget, "max_seqs": limits.max_seqs,
                "max_context": setting.context,
            },
            "kv": {
                "block_tokens": tokens, "local_retention": "turn_end",
                "global_blocks": -(-setting.context // tokens), "local_windows": 1,
            },
            "steptime": {"kind": "constant", "step": 0.01},
            "results": {"request_rows": len(workload.messages) + 1},
        }
    )  # fmt: skip
    (group,) = build_groups(scenario, Path())
    kv = replace(group.kv, global_blocks=setting.blocks, local_windows=limits.windows)
    group = replace(group, step_time=replace(group.step_time, curves=curves), kv=kv)
    model = _model(scenario)
    return Plant(scenario, group.gpu, model, group.step_time, group.kv, rows, (group,))


def _model(scenario: Scenario) -> Any:
    from kaiju_sim.catalog.models import find_model

    return find_model(scenario.model)


def _cell(cell: Cell, setting: Setting, curves: Curves, workload: Workload) -> Cell:
    """The cell with records of the setting's limits; what only the simulated world has stays. Its
    totals are noted where the measured time begins and where it ends."""
    own = cell.world.engine
    kept = ("ring", "warm_ns", "horizon_ns", "epoch_ns", "seed")
    measured_ns = ns(workload.seconds) - own.limits.warm_ns
    limits = setting.limits._replace(
        timeout_ns=0, segments=-(-(own.limits.horizon_ns - own.limits.warm_ns) // measured_ns),
        segment_ns=measured_ns, **{name: getattr(own.limits, name) for name in kept},
    )  # fmt: skip
    requests, warm = own.requests.size, len(workload.warm)
    engine = make_engine(
        limits, curves, np.array([setting.blocks]), windows=np.array([limits.windows]),
        requests=requests, nodes=power_of_two(16 * requests + 4 * limits.stride * warm),
    )  # fmt: skip
    assert int(engine.caches["free"][0]) == setting.blocks, "blocks are the engine's"
    assert int(engine.caches["windows_free"][0]) == limits.windows, "windows are the engine's"
    return cell._replace(world=make_world(engine))


def _remember(cell: Cell, warm: Sequence[Message], paths: Sequence[Pieces]) -> None:
    """Leave the warm prompts in the cache, in plain Python on the same records."""
    e: Engine = viewed(cell.world.engine)
    for message, path in zip(warm, paths, strict=True):
        fill_request(e, 0, 0, 0, message.prompt)
        for place, (stream, blocks) in enumerate(path):
            segment = e.segments[place]
            segment.stream = stream_of(TRACE_STREAM, stream, 0)
            segment.n = blocks if e.limits.prefix_cache else 0
            segment.node = -1
        remember(e, 0, 0)
    settle(e)


def _outcome(result: CellResult, at: Ints, order: Ints) -> Outcome:
    """The log's rows, in the workload's order."""
    log = result.log[np.argsort(result.log["session"])]
    assert log.size == at.size, "every message is in the log"
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    mine = log[place]
    is_done = mine["status"] == COMPLETED
    begin, end = result.edges[:2]
    columns = {name: mine[name].astype(np.int64) for name in ("admit", "first", "end", "cached")}
    return Outcome(
        arrival=mine["arrival"].astype(np.int64), output=mine["out"].astype(np.int64),
        preempted=mine["preempted"].astype(np.int64), state=np.where(is_done, DONE, SHED),
        itl=end.itl - begin.itl, itl_ns=end.itl_ns - begin.itl_ns, **columns,
    )  # fmt: skip
