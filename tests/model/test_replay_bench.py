"""Engines on a tiny model, one after the other, as the comparison with the simulator makes them."""

from typing import Any

from model_bench import make_bench, two_layers
from serving_limits import constant_curves, limits_with

from calibrate.engine.memory.pages import Piece
from calibrate.fidelity.outcome import DONE
from calibrate.fidelity.serve.drive import drive
from calibrate.fidelity.serve.recorder import column
from calibrate.fidelity.workload import Message, Workload
from calibrate.gpu.serve.replay import ModelBench, one_pool
from kernels.model.steps.cache import page_bytes

CONFIG = two_layers(128)


class NoCard:
    def identity(self) -> dict[str, str]:
        return {"gpu_name": "none", "driver": "none", "uuid": "none"}

    def telemetry(self) -> dict[str, Any]:
        return {}


def replay_bench() -> ModelBench:
    bench = make_bench(CONFIG, rows=64, kv_bytes=6_000_000)
    return ModelBench(bench.model, bench.runner, NoCard())


def test_one_pool_takes_the_memory_of_two() -> None:
    plan = make_bench(CONFIG, rows=64, kv_bytes=6_000_000).runner.cache.plan
    single = one_pool(CONFIG, plan)
    whole, local = (page_bytes(CONFIG, is_global=g) for g in (True, False))
    assert single.local_pages == single.global_pages
    before = plan.global_pages * whole + plan.local_pages * local
    after = single.global_pages * (whole + local)
    assert 0 <= before - after < whole + local


def test_a_workload_is_served_by_the_model() -> None:
    """A message on engines of either kind of pools. It hits what was warm from the beginning."""
    head = Piece(1, 1)
    message = Message(0, 130, 2, 0, 0, (head, Piece(2, 0)))
    recipe = {"name": "x", "seconds": 1.0, "warm_s": 0.0, "context": 1024}
    workload = Workload([message], [message._replace(prompt=129, path=(head,))], recipe)
    bench = replay_bench()
    for windows in (0, 1):
        limits = limits_with(token_budget=8, max_seqs=1, windows=windows, shift=7, window=128)
        fit = bench.fit(limits, 1024)
        plan = bench.runner.cache.plan
        assert (fit.limits.windows > 0) == (windows > 0)
        assert fit.blocks == plan.global_pages
        assert (plan.local_pages == plan.global_pages) == (windows == 0)
        run = drive(bench, fit, constant_curves(), workload)
        assert run.outcome.state.tolist() == [DONE]
        assert run.outcome.output.tolist() == [2]
        assert run.outcome.cached.tolist() == [128]
        assert column(run.steps, "rows").tolist() == [2, 0]
