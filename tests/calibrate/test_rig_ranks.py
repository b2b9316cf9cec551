"""Ranks do as rank 0 says: what they are told, and what rank 0 is told of them; without a GPU."""

import multiprocessing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from calibrate.gpu import ranks
from calibrate.gpu.ranks import Ranks
from calibrate.gpu.rig import TorchRig
from calibrate.shapes import StepShape
from kaiju_sim.errors import UserError
from kernels.model.config import tiny

FITS, TOO_LARGE = StepShape((8,)), StepShape((4096,) * 512)


def test_a_step_that_does_not_fit_ends_no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[StepShape] = []

    def prepare(engine: Any, shape: StepShape, seed: int) -> StepShape:
        if shape == TOO_LARGE:
            raise ValueError("the step needs more than the pool's pages")
        return shape

    monkeypatch.setattr(ranks, "prepare_step", prepare)
    here, there = multiprocessing.Pipe()
    for what in (("prepare", TOO_LARGE, 1), ("prepare", FITS, 2), ("run",), ("end",)):
        here.send(what)
    engine: Any = SimpleNamespace(runner=SimpleNamespace(run=ran.append))
    ranks._obey(engine, there)
    assert ran == [FITS]


@pytest.mark.parametrize("last_words", [None, "rank 1: OutOfMemoryError: 3 GiB"])
def test_a_rank_that_is_gone_is_the_users_error(last_words: str | None) -> None:
    here, there = multiprocessing.Pipe()
    if last_words:
        there.send(last_words)
    there.close()
    gone: Any = SimpleNamespace(exitcode=-9)
    others = Ranks(tiny(), [gone], [here], Path("meeting"))
    with pytest.raises(UserError, match=last_words or "ended unexpectedly .exit code -9"):
        others.prepare(FITS, 1)


def test_graphs_are_given_up_before_ranks_part() -> None:
    order: list[str] = []

    def part(name: str) -> Any:
        return SimpleNamespace(close=lambda: order.append(name))

    engine = SimpleNamespace(runner=SimpleNamespace(release=lambda: order.append("graphs")))
    parts: list[Any] = [part(name) for name in ("card", "steps", "operators", "links", "ranks")]
    whole: Any = engine
    TorchRig(whole, *parts).close()
    assert order.index("graphs") < order.index("ranks")
    assert sorted(order) == ["card", "graphs", "links", "operators", "ranks", "steps"]
