"""Two runs or scenarios beside each other: inputs, paired differences, noise called noise."""

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kaiju_sim.cli import main
from kaiju_sim.diff.figures import deltas, pairing, welch
from kaiju_sim.diff.sides import Side, differing, of_directory

SMALL = """\
schema_version: 1
name: small
run: {warm_up: 2s, horizon: 10s, drain: 20s}
traffic: {kind: poisson, messages_per_s: 20}
steptime: {kind: roofline}
fleet: {replicas: 2}
"""
KEYS = ("ttft_s.p99", "tpot_s.p50", "prefix_hit_rate", "cost.usd_per_message", "e2e_s.mean")


def side(values: "dict[str, list[float]]", seeds: list[int]) -> Side:
    """A side with these values by replication."""
    summary: dict[str, Any] = {key: fmean(found) for key, found in values.items()}
    return Side("x", {}, {}, seeds, summary, values)


@pytest.fixture
def small(tmp_path: Path) -> str:
    """A scenario file."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)


def told(capsys: "pytest.CaptureFixture[str]", *words: str) -> dict[str, Any]:
    """What `kaiju-sim diff` says as JSON."""
    assert main(["diff", *words, "-q", "--format", "json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_welch_is_scipy_s_with_its_freedom_rounded_down() -> None:
    rng = np.random.Generator(np.random.PCG64(4))
    for n, m in ((3, 3), (5, 8), (20, 4)):
        x, y = rng.normal(0, 1, n), rng.normal(1, 3, m)
        mean, half, p = welch(x.tolist(), y.tolist())
        theirs = stats.ttest_ind(y, x, equal_var=False)
        low, high = theirs.confidence_interval()
        assert mean == pytest.approx((low + high) / 2)
        assert (high - low) / 2 <= half * (1 + 1e-9) < (high - low)
        assert theirs.pvalue <= p * (1 + 1e-9)
        exact = stats.t.ppf(0.975, int(theirs.df)) * theirs._standard_error
        assert half == pytest.approx(exact)


def test_equals_are_hardly_ever_called_different() -> None:
    """Of 300 comparisons of equals, a difference anywhere in at most about one in twenty."""
    rng = np.random.Generator(np.random.PCG64(8))
    false = 0
    for _ in range(300):
        a, b = ({k: rng.normal(10, 1, 6).tolist() for k in KEYS} for _ in range(2))
        for row in deltas(side(a, [1] * 6), side(b, [2] * 6)):
            if row.verdict in ("higher", "lower"):
                false += 1
                break
    assert false <= 300 * 0.05 + 3 * (300 * 0.05 * 0.95) ** 0.5


def test_pairs_show_what_independent_runs_hide() -> None:
    """The same small change, under noise that both sides share or do not."""
    rng = np.random.Generator(np.random.PCG64(1))
    noise = rng.normal(0, 1, 8)
    a = {"ttft_s.p99": (10 + noise).tolist()}
    b = {"ttft_s.p99": (10.1 + noise + rng.normal(0, 0.01, 8)).tolist()}
    seeds = list(range(8))
    (paired,) = deltas(side(a, seeds), side(b, seeds))
    (apart,) = deltas(side(a, seeds), side(b, [s + 9 for s in seeds]))
    assert (paired.verdict, apart.verdict) == ("higher", "no difference")
    assert paired.delta == pytest.approx(apart.delta)
    assert (paired.half_width or 9) < 0.1 * (apart.half_width or 0)


def test_one_replication_calls_nothing_a_difference() -> None:
    a, b = side({"ttft_s.p99": [1.0]}, [1]), side({"ttft_s.p99": [2.0]}, [1])
    assert pairing(a, b) == "single"
    assert [row.verdict for row in deltas(a, b)] == ["not known"]


def test_scenarios_are_simulated_with_the_same_users(
    small: str, capsys: "pytest.CaptureFixture[str]"
) -> None:
    found = told(capsys, small, small, "--set-b", "fleet.replicas=3", "--replications", "3")
    assert found["inputs"] == [{"path": "fleet.replicas", "a": "2", "b": "3"}]
    assert (found["pairing"], found["replications"]) == ("paired", 3)
    rows = {row["key"]: row for row in found["figures"]}
    assert rows["fleet.gpus"]["verdict"] == "higher"
    assert rows["tpot_s.p50"]["verdict"] == "lower"
    assert rows["tpot_s.p50"]["high"] < 0
    assert rows["requests.arrived"]["verdict"] == "equal"  # the same users


def test_other_seeds_alone_make_no_difference(
    small: str, capsys: "pytest.CaptureFixture[str]"
) -> None:
    found = told(capsys, small, small, "--set-b", "seed=2")
    assert found["pairing"] == "independent"
    assert [item["path"] for item in found["inputs"]] == ["seed"]
    words = {row["verdict"] for row in found["figures"]}
    assert "no difference" in words
    assert not words & {"higher", "lower"}


def test_run_directories_beside_each_other_and_beside_a_scenario(
    small: str, tmp_path: Path, capsys: "pytest.CaptureFixture[str]"
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    made = ["run", small, "--replications", "2", "--no-report", "-q", "-o"]
    assert main([*made, str(one)]) == 0
    assert main([*made, str(two), "--set", "kv.prefix_cache=false"]) == 0
    capsys.readouterr()
    assert [item.path for item in differing(of_directory(one), of_directory(two))] == [
        "kv.prefix_cache"
    ]
    found = told(capsys, str(one), small)
    assert found["inputs"] == []
    assert {row["verdict"] for row in found["figures"]} == {"equal"}
    assert main(["diff", str(one), str(two)]) == 0
    page = capsys.readouterr().out
    assert page.index("kv.prefix_cache") < page.index("Of ")
    assert "(common random numbers)" in page


def test_mistakes_are_told(small: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "empty").mkdir()
    for words, complaint in (
        ([str(tmp_path / "empty"), small], "not a run directory"),
        ([small, "absent.yaml"], "no such file"),
    ):
        assert main(["diff", *words]) == 2
        assert complaint in capsys.readouterr().err
