"""Suggested scenarios load, run, and draw what the trace has."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from kaiju_sim.catalog.models import find_model
from kaiju_sim.cli import make_app
from kaiju_sim.scenario.loader import Loaded, load_scenario
from kaiju_sim.scenario.parts.laws import Quantiles
from kaiju_sim.simulation import simulate
from kaiju_sim.workload.laws import mean_of
from kaiju_sim.workload.traces import Trace, read_trace
from kaiju_sim.workload.traces.quantiles import quantile_law
from kaiju_sim.workload.traces.suggest import burstiness, scenario_values, suggestion, without_drift

Write = Callable[[str, str | bytes], Path]
SHORT = ["run.warm_up=1s", "run.horizon=20s", "run.drain=60s", "run.start=cold", "fleet.replicas=4"]


def dialogues() -> str:
    """Two days of dialogues at noon: 40 a day of 3 turns, a minute apart, each 100 + 50 longer."""
    rows = []
    for session in range(80):
        for turn in range(3):
            at = session // 40 * 86_400 + 12 * 3600 + session % 40 * 30 + turn * 60
            rows.append((at, 1000 + 150 * turn, 50, session))
    lines = ["arrival_s,prompt_tokens,output_tokens,session"]
    lines += [",".join(map(str, row)) for row in sorted(rows)]
    return "\n".join(lines)


def loaded(trace: Trace, folder: Path) -> Loaded:
    path = folder / "like.yaml"
    path.write_text(suggestion(trace, find_model("kaiju-13b")), encoding="utf-8")
    return load_scenario(path, sets=SHORT)


def test_dialogues_become_sessions(write: Write, tmp_path: Path) -> None:
    trace = read_trace(write("d.csv", dialogues()))
    s = loaded(trace, tmp_path).scenario
    assert s.traffic.kind == "sessions"
    sessions = s.traffic.sessions
    assert mean_of(sessions.turns) == 3
    assert mean_of(sessions.think) == 60
    assert mean_of(sessions.user_tokens) == 100
    assert mean_of(sessions.initial_history) == 900  # 1,000 less what the first message adds
    assert mean_of(s.traffic.output_tokens) == 50
    assert s.traffic.messages_per_s == pytest.approx(239 / trace.span_ns * 1e9, rel=1e-5)
    assert s.prompt.limit >= 1300
    diurnal = s.traffic.diurnal
    assert diurnal is not None
    assert diurnal.shape[12] == sum(diurnal.shape) > 0
    assert diurnal.start_hour == 12


def test_a_shape_follows_the_clock_of_the_file(write: Write) -> None:
    header = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    rows = [f"2024-01-0{day} {h:02}:30:00,10,10" for day in (1, 2, 3) for h in (6, 18, 18)]
    values = scenario_values(read_trace(write("a.csv", header + "\n".join(rows))))
    shape = values["traffic"]["diurnal"]["shape"]
    assert values["traffic"]["diurnal"]["start_hour"] == 6.5
    assert [hour for hour in range(24) if shape[hour]] == [6, 18]
    assert shape[18] > shape[6]


@pytest.mark.parametrize("kind", ["sessions", "open"])
def test_a_suggestion_runs(kind: str, write: Write, tmp_path: Path) -> None:
    text = dialogues()
    if kind == "open":
        text = "\n".join(",".join(line.split(",")[:3]) for line in text.splitlines())
    run = loaded(read_trace(write("d.csv", text)), tmp_path)
    faster = run.scenario.traffic.model_copy(
        update={"messages_per_s": 3.0, "diurnal": None, "burstiness": 1.0}
    )
    s = run.scenario.model_copy(update={"traffic": faster})
    summary = simulate(s, base_dir=run.base_dir, engine="reference").summary
    assert summary["requests.completed"] > 5
    assert summary["requests.failed"] == 0


def test_every_shared_trace_gives_a_scenario_that_loads(shared_data: Path, tmp_path: Path) -> None:
    files = [
        "ragpulse/0_trace.week1.jsonl.zst",
        "mooncake/conversation_trace.t0-2400s.jsonl.zst",
        "azure-llm-2023/AzureLLMInferenceTrace_conv.before-1855.csv.zst",
    ]
    for file in files:
        trace = read_trace(shared_data / file)
        s = loaded(trace, tmp_path).scenario
        assert mean_of(s.traffic.output_tokens) == pytest.approx(
            float(trace.output_tokens.mean()), rel=0.01
        )
        if trace.session is None:
            into = mean_of(s.traffic.sessions.user_tokens)
            assert into == pytest.approx(float(trace.prompt_tokens.mean()), rel=0.01)
    text = suggestion(read_trace(shared_data / files[1]), find_model("kaiju-13b"))
    assert "# KV for 50% of the ideal hit, one LRU cache: 4,190,720 tokens = 4 GiB" in text


def test_the_option_writes_or_prints(write: Write, tmp_path: Path) -> None:
    file = str(write("d.csv", dialogues()))
    out = tmp_path / "like.yaml"
    assert CliRunner().invoke(make_app(), ["trace", file, "--suggest", str(out)]).exit_code == 0
    printed = CliRunner().invoke(make_app(), ["trace", file, "--suggest", "-"])
    assert printed.stdout == out.read_text(encoding="utf-8")
    assert load_scenario(out).scenario.name == "like d"


@given(
    data=st.lists(st.integers(0, 10_000), min_size=2, max_size=400),
    knots=st.sampled_from([5, 33, 101]),
)
def test_a_quantile_law_is_between_the_datas_ends(data: list[int], knots: int) -> None:
    law = quantile_law(np.array(data), knots)
    if law["kind"] == "constant":
        assert set(data) == {law["value"]}
        return
    values = Quantiles.model_validate(law).values
    assert len(values) == knots
    assert min(data) <= values[0] * 1.0005 + 1e-9
    assert values[-1] <= max(data) * 1.0005


def test_a_long_tail_keeps_its_mean() -> None:
    data = np.random.default_rng(3).lognormal(5, 1.2, 50_000)
    law = Quantiles.model_validate(quantile_law(data, 33))
    straight = Quantiles(
        kind="quantiles", values=tuple(np.quantile(data, np.linspace(0, 1, 33)).tolist())
    )
    assert mean_of(law) == pytest.approx(data.mean(), rel=0.01)
    assert mean_of(straight) > 1.2 * data.mean()


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("grid_s", [0, 3])
def test_burstiness_is_the_variation_of_gaps_on_a_grid_too(cv: float, grid_s: int) -> None:
    gaps = np.random.default_rng(1).gamma(1 / cv**2, cv**2 / 5, 40_000)
    at_s = np.cumsum(gaps)
    if grid_s:
        at_s = at_s // grid_s * grid_s
    at_ns = (at_s * 1e9).astype(np.int64)
    assert burstiness(at_ns - at_ns[0]) == pytest.approx(cv, rel=0.05 if not grid_s else 0.35)


def test_burstiness_of_too_few_arrivals_is_poisson() -> None:
    assert burstiness(np.array([0])) == 1
    assert burstiness(np.array([0, 0, 0])) == 1


def test_the_shape_of_the_day_is_not_burstiness() -> None:
    """Poisson arrivals at rates that alternate by the hour: bursty as they stand, not within."""
    draw = np.random.default_rng(4)
    hours = [
        hour * 3600.0 + np.sort(draw.uniform(0, 3600, 40 if hour % 2 else 4000))
        for hour in range(48)
    ]
    at = (np.concatenate(hours) * 1e9).astype(np.int64)
    assert burstiness(at) > 3
    assert burstiness(without_drift(at)) == pytest.approx(1.0, abs=0.05)
