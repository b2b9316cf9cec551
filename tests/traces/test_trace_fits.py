"""scenarios/fits: what the simulator draws from a fit has the quantiles of the data."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from kaiju_sim import rng
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate
from kaiju_sim.workload.laws import draws, make_laws, mean_of
from kaiju_sim.workload.start import uniforms

ROOT = Path(__file__).resolve().parents[2]
FITS = ROOT / "scenarios" / "fits"
PERCENTS = (10, 25, 50, 75, 90, 95, 99)
TOLERANCE, LEAST = 0.02, 1.0
"""A quantile drawn may be off by 2 %, or by one token, turn or second."""
ASIDE = 0.5
"""Between these, so much of a percentile to either side: data jump (prompts of 255 or 345 tokens,
and hardly any between), and a law of straight pieces jumps a little earlier or later."""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """scripts/fit_traffic.py."""
    spec = importlib.util.spec_from_file_location("fit_traffic", ROOT / "scripts/fit_traffic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


NAMES = sorted(path.stem for path in FITS.glob("*.yaml"))


def extended(name: str, folder: Path, *sets: str) -> Scenario:
    """A scenario that extends a fit and says nothing of its own."""
    path = folder / "mine.yaml"
    parent = FITS / f"{name}.yaml"
    path.write_text(
        f"extends: {parent}\nschema_version: 1\nname: mine\ntraffic: {{messages_per_s: 2}}\n"
    )
    return load_scenario(path, sets=sets).scenario


def value_at(part: Any, path: str) -> Any:
    for name in path.split("."):
        part = getattr(part, name)
    return part


def test_there_are_fits() -> None:
    assert len(NAMES) == 6


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_says_where_it_is_from_and_extends_a_scenario(name: str, tmp_path: Path) -> None:
    text = (FITS / f"{name}.yaml").read_text(encoding="utf-8")
    for words in ("Licence: ", "Attribution: ", "2026-11-22", "fit_traffic.py", "sha256"):
        assert words in text, words
    assert extended(name, tmp_path).name == "mine"


def test_a_fit_has_the_shape_of_the_day(tmp_path: Path) -> None:
    for name in ("azure_conversation", "ragpulse"):
        path = tmp_path / "mine.yaml"
        path.write_text(
            f"extends: {FITS / name}.yaml\nschema_version: 1\nname: mine\n", encoding="utf-8"
        )
        diurnal = load_scenario(path, overrides=["day"]).scenario.traffic.diurnal
        assert diurnal is not None
        assert np.mean(diurnal.shape) == pytest.approx(1, abs=0.001)


def check(got: Any, data: Any, percents: Sequence[int], aside: float, what: str) -> None:
    """Percentiles of the draws lie between those of the data, `aside` to either side."""
    at = np.array(percents)
    low = np.percentile(data, at - aside, method="lower")
    high = np.percentile(data, at + aside, method="higher")
    drawn = np.percentile(got, at)
    room = np.maximum(TOLERANCE * high, LEAST)
    bad = (drawn < low - room) | (drawn > high + room)
    assert not bad.any(), (what, at[bad], low[bad], drawn[bad], high[bad])


@pytest.mark.parametrize("name", NAMES)
def test_draws_have_the_quantiles_of_the_data(
    name: str, script: ModuleType, shared_data: Path, tmp_path: Path
) -> None:
    scenario = extended(name, tmp_path)
    fit = next(one for one in script.FITS if one.name == name)
    for path, (data, unit) in fit.laws(shared_data).items():
        laws = make_laws([value_at(scenario, path)])
        drawn = draws(laws, 0, (np.arange(100_000) + 0.5) / 100_000)
        got = drawn if unit else np.floor(drawn + 0.5)
        few = len(data) < 100  # one of 50 samples is 2 percent of them
        check(got, data, PERCENTS, 1 if few else 0, path)
        check(got, data, range(10, 100), 1 if few else ASIDE, path)
        # Pauses of days, or of 47 samples, bend more inside a percent than a straight line does.
        coarse = bool(unit) or few
        mean = pytest.approx(data.mean(), rel=0.08 if coarse else 0.02, abs=1)
        assert mean_of(value_at(scenario, path)) == mean, path


def test_keyed_draws_of_sessions_follow_the_same_law(
    script: ModuleType, shared_data: Path, tmp_path: Path
) -> None:
    """The simulator's own uniforms, keyed by session: sampling error on top of the fit."""
    law = extended("azure_conversation", tmp_path).traffic.output_tokens
    u = uniforms(3, rng.OUTPUT_TOKENS, np.arange(40_000), 0)
    drawn = np.floor(draws(make_laws([law]), 0, u) + 0.5)
    data = script.azure(shared_data)["traffic.output_tokens"][0]
    percents = (10, 25, 50, 75, 90, 95, 99)
    got, want = np.percentile(drawn, percents), np.percentile(data, percents)
    assert got == pytest.approx(want, rel=0.04, abs=1)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_data_give_the_same_bytes(
    name: str, script: ModuleType, shared_data: Path
) -> None:
    fit = next(one for one in script.FITS if one.name == name)
    text = script.text_of(fit, shared_data)
    assert text == (FITS / f"{name}.yaml").read_text(encoding="utf-8"), "run scripts/fit_traffic.py"


def test_a_run_delivers_the_lengths_of_the_fit(tmp_path: Path) -> None:
    """Through the whole simulator: prompts and answers of an open loop, cut nowhere."""
    scenario = extended(
        "azure_conversation",
        tmp_path,
        "run.warm_up=0s",
        "run.horizon=75s",
        "run.drain=10min",
        "run.start=cold",
        "fleet.replicas=2",
        "traffic.messages_per_s=4",
        "characters.definition_tokens={kind: constant, value: 0}",
        "prompt.limit=16384",
        "engine.max_context=20000",
        "steptime.kind=constant",
        "steptime.step=5ms",
    )
    rows = simulate(scenario, engine="reference").requests
    assert rows.num_rows > 200
    for column, law in (
        ("prompt_tokens", scenario.traffic.sessions.user_tokens),
        ("output_tokens", scenario.traffic.output_tokens),
    ):
        got = np.percentile(rows[column].to_numpy(), (25, 50, 75))
        want = draws(make_laws([law]), 0, np.array([0.25, 0.5, 0.75]))
        assert got == pytest.approx(want, rel=0.25)
