"""Files and verdicts of the training side's measurements, without a GPU."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kernels.timing import Contender
from benchmarks.training import __main__ as command
from benchmarks.training import aims, store

LINEAR = "13B all four, 8192 tokens"


def row(operator: str, shape: str, impl: str, us: float, run: str = "r") -> dict[str, Any]:
    return {"operator": operator, "shape": shape, "impl": impl, "us_median": us, "run": run}


ROWS = [
    row("squinch_pack", "bf16 nearest", "ours", 100.0),
    row("squinch_pack", "bf16 nearest", "Triton copy", 90.0),
    row("squinch_pack", "fp32 nearest", "ours", 100.0),
    row("squinch_pack", "fp32 nearest", "Triton copy", 79.0),
    row("linear_step", LINEAR, "bf16", 130.0),
    row("linear_step", LINEAR, "int8 forward", 118.0),
    row("linear_step", LINEAR, "int8 forward, input gradient", 100.0),
]


def arm(*losses: float, gap: float = 0.0) -> dict[str, Any]:
    return {"losses": list(losses), "loss_gap": gap, "mean": sum(losses) / len(losses)}


def compared(squinch: float = 1.52) -> dict[str, Any]:
    curve = [
        {"step": s, "sequences": 8 * s, "batch": 8, "rate": 1e-3, "loss": 2.0, "held_out": h,
         "gradient": 1.0, "seconds": 0.1}
        for s, h in ((1, None), (2, 1.8), (4, 1.5))
    ]  # fmt: skip
    arms = {
        "bf16": arm(1.5, 1.6, 1.4), "int8": arm(1.5, 1.6, 1.41, gap=0.002),
        "bf16, bf16 gradients": arm(1.5, 1.6, 1.4),
        "bf16, squinch": arm(squinch, squinch + 0.1, squinch - 0.1),
    }  # fmt: skip
    names = ("bf16", "int8")
    return {
        "run": {"device": "NVIDIA H100 80GB HBM3"}, "arms": arms,
        "agreement": [{"arm": "int8", "top_1": 0.997}, {"arm": "all", "skipped": "no GPU"}],
        "outcomes": [{"arm": a, "seed": s, "curve": curve} for a in names for s in (0, 1)],
    }  # fmt: skip


def test_times_are_judged() -> None:
    found = {v.what: v for v in aims.of_kernels(ROWS)}
    assert found["squinch_pack, bf16 nearest: of a copy's speed"].verdict == aims.REACHED
    assert found["squinch_pack, fp32 nearest: of a copy's speed"].verdict == aims.MISSED
    assert found["squinch_unpack, bf16 1 rank: of a copy's speed"].verdict == aims.UNKNOWN
    both = found["13B layers, int8 forward and input gradient: x bf16 step"]
    assert (both.measured, both.verdict) == ("1.3", aims.REACHED)


def test_losses_are_judged() -> None:
    verdicts = [v.verdict for v in aims.of_demo(compared())]
    assert verdicts == [aims.REACHED] * 3
    assert [v.verdict for v in aims.of_demo(compared(1.7))][2] == aims.MISSED
    assert {v.verdict for v in aims.of_demo({})} == {aims.UNKNOWN}
    worse = compared()
    worse["agreement"].append({"top_1": 0.99})
    worse["arms"]["int8"]["loss_gap"] = -0.02
    assert [v.verdict for v in aims.of_demo(worse)][:2] == [aims.MISSED] * 2


def test_files_are_written_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = {"gpu": "NVIDIA H100 80GB HBM3", "run": "r"}
    store.save("h100-80gb-hbm3", ROWS, [], about, tmp_path)
    store.save("h100-80gb-hbm3", [ROWS[0] | {"run": "s", "us_median": 300.0}], [],
               about | {"run": "s"}, tmp_path)  # fmt: skip
    (tmp_path / "compare.json").write_text(json.dumps(compared()))
    folder = ["--results", str(tmp_path)]
    assert command.main(["--demo", str(tmp_path), *folder]) == 0
    assert store.measured(tmp_path) == ["h100-80gb-hbm3"]
    assert len(store.outcomes("h100-80gb-hbm3", tmp_path)) == 4
    drawn = tmp_path / "plots"
    assert command.main(["--report", "--format", "json", "--plots", str(drawn), *folder]) == 0
    listed = {v["what"]: v["verdict"] for v in json.loads(capsys.readouterr().out)}
    assert listed["squinch_pack, bf16 nearest: of a copy's speed"] == aims.UNKNOWN, "no copy beside"
    assert listed["13B layers, int8 forward alone: x bf16 step"] == aims.REACHED
    assert (drawn / "training-int8.svg").read_text().startswith("<svg")
    assert command.main(["--demo", str(tmp_path / "none"), *folder]) == 2


class Replay:
    """A call takes 100 us."""

    calls, method = 4, "graph"

    def __init__(self) -> None:
        self.queued = 0

    def start(self) -> None:
        self.queued += 1

    def seconds(self) -> list[float]:
        queued, self.queued = self.queued, 0
        return [4e-4] * queued


class FakeClock:
    def prepare(self, contender: Contender) -> Replay:
        contender.calls[0]()
        return Replay()


def test_cases_are_checked_timed_and_failures_noted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from benchmarks.training import measure
    from benchmarks.training.cases import Case

    def broken() -> None:
        raise RuntimeError("no such kernel")

    def contenders() -> Iterator[Contender]:
        yield Contender("ours", [lambda: None], lambda: 0.01)
        yield Contender("wrong", [lambda: None], lambda: float("nan"))
        yield Contender("broken", [broken])

    def hopeless() -> Iterator[Contender]:
        raise MemoryError("too large")
        yield

    monkeypatch.setattr(measure, "CudaClock", FakeClock)
    monkeypatch.setattr(measure, "described", lambda: {"gpu": "NVIDIA H100 80GB HBM3"})
    monkeypatch.setattr(measure, "device_id", lambda: "0")
    monkeypatch.setattr(measure, "code_errors", lambda: [])
    cases = [Case("copy", "1", contenders, 2e8, 4e8), Case("copy", "2", hopeless)]
    found = measure.run(cases, 0.01, "abc", lambda line: None)
    (row,) = found["rows"]
    assert (row["impl"], row["us_median"], row["relative_error"]) == (
        "ours",
        pytest.approx(100),
        0.01,
    )
    assert (row["tb_per_s"], row["tops"]) == (pytest.approx(4.0), pytest.approx(2.0))
    assert len(found["samples"]) == row["repeats"] >= 15
    assert [f.partition(":")[0] for f in found["about"]["failures"]] == [
        "copy 1, wrong", "copy 1, broken", "copy 2",
    ]  # fmt: skip
    assert (found["gpu"], found["about"]["commit"]) == ("h100-80gb-hbm3", "abc")
    store.save(found["gpu"], found["rows"], found["samples"], found["about"], tmp_path)
    assert store.measured(tmp_path) == ["h100-80gb-hbm3"]


def test_every_case_has_a_name_of_its_own() -> None:
    pytest.importorskip("torch")
    from benchmarks.training.cases import every_case

    names = [case.name for case in every_case()]
    assert len(set(names)) == len(names)
    assert f"linear_step {LINEAR}" in names
    assert all(case.flops > 0 for case in every_case())


def test_real_ranks_are_judged_beside_the_gpu_of_the_kernels(tmp_path: Path) -> None:
    ranks = compared() | {"run": {"device": "NVIDIA H200", "ranks": 2}}
    store.save_demo("ranks-h200", ranks, tmp_path)
    assert store.measured(tmp_path) == []
    store.save("h100", ROWS, [], {"run": "r"}, tmp_path)
    assert store.measured(tmp_path) == ["h100"]
    (verdict,) = aims.of_ranks(store.others(store.RANKS, tmp_path))
    assert verdict.verdict == aims.REACHED
    assert verdict.what.endswith("2 real ranks, h200")
    (worse,) = aims.of_ranks({"h200": compared(1.7) | {"run": {"ranks": 2}}})
    assert worse.verdict == aims.MISSED
