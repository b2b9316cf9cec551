"""What a sweep varies, and how mistakes in it are told."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import qmc
from sweep_files import ROOT, SWEEP, written

from kaiju_sim.errors import UserError
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.sweep.points import make_points
from kaiju_sim.sweep.read import read_spec, with_options
from kaiju_sim.sweep.sobol import MOST_DIMENSIONS, sobol
from kaiju_sim.sweep.spec import Spec, checked


def test_sobol_points_are_those_of_the_reference_moved_together() -> None:
    """Digital shifts apart, all dimensions are SciPy's sequence (Joe and Kuo's numbers)."""
    bits = qmc.Sobol(MOST_DIMENSIONS, scramble=False, bits=32).random(256)
    theirs = (bits * 2.0**32).astype(np.uint64)
    ours = np.floor(sobol(256, MOST_DIMENSIONS, 5) * 2.0**32).astype(np.uint64)
    ours = ours ^ ours[0]
    index = np.arange(256)  # SciPy's order is a Gray code's
    assert np.array_equal(ours[index ^ (index >> 1)], theirs)


def test_more_sobol_points_only_add_and_seeds_differ() -> None:
    assert np.array_equal(sobol(8, 3, 1), sobol(32, 3, 1)[:8])
    assert not np.array_equal(sobol(8, 3, 1), sobol(8, 3, 2))
    assert np.histogram(sobol(64, 1, 9)[:, 0], 64, (0, 1))[0].tolist() == [1] * 64


def test_a_sweep_file_is_every_sample_on_every_point_of_the_grid(tmp_path: Path) -> None:
    points = make_points(checked(read_spec(written(tmp_path))))
    pairs = [(p.values["fleet.replicas"], p.values["engine.policy"]) for p in points]
    assert pairs[::2] == list(product(["1", "2"], ["decode_first", "prefill_first"]))
    for point in points:
        scenario = point.scenario
        assert scenario is not None
        assert 10 <= float(scenario.traffic.messages_per_s or 0) <= 40
        assert 0.02 <= scenario.run.epoch <= 0.2
        assert str(scenario.fleet.replicas) == point.values["fleet.replicas"]
    assert len({point.values["traffic.messages_per_s"] for point in points}) == 2


def test_a_scenario_s_own_sweep_and_options(tmp_path: Path) -> None:
    written(tmp_path)
    spec = read_spec(tmp_path / "small.yaml")
    assert [axis.values for axis in spec.grid] == [("1", "2")]
    spec = with_options(
        spec, ["fleet.replicas=[3,4]"], ["engine.max_seqs=1..4", "kv.host_memory=1GiB..9GiB"]
    )
    assert [(a.path, a.values) for a in spec.grid] == [("fleet.replicas", ("3", "4"))]
    seqs, memory = spec.ranges
    assert {seqs.at(u) for u in (0.001, 0.3, 0.6, 0.999)} == {"1", "2", "3", "4"}
    assert memory.at(0.5).endswith("B")


def test_a_digest_is_of_what_figures_depend_on(tmp_path: Path) -> None:
    def digests(**change: str) -> list[str]:
        text = SWEEP
        for old, new in change.items():
            text = text.replace(old, new)
        spec = read_spec(written(tmp_path, text))
        return [v.digest for point in make_points(spec) for v in point.variants]

    plain = digests()
    assert len(set(plain)) == len(plain) == 8
    assert digests() == plain
    assert digests(points="replications: 2\npoints")[::2] == plain  # more replications only add
    (tmp_path / "note").mkdir()
    spec = read_spec(written(tmp_path))
    renamed = (tmp_path / "small.yaml").read_text().replace("name: small", "name: other")
    (tmp_path / "small.yaml").write_text(renamed)
    assert [v.digest for p in make_points(spec) for v in p.variants] == plain
    (tmp_path / "small.yaml").write_text(renamed.replace("warm_up: 2s", "warm_up: 3s"))
    assert not {v.digest for p in make_points(spec) for v in p.variants} & set(plain)


def test_values_that_do_not_go_together_make_a_point_infeasible(tmp_path: Path) -> None:
    text = (
        "scenario: small.yaml\n"
        "grid: {engine.max_seqs: [64, 512], engine.token_budget: [256, 1024]}\n"
    )
    points = make_points(read_spec(written(tmp_path, text)))
    assert [bool(point.problem) for point in points] == [False, False, True, False]
    assert "at least engine.max_seqs" in points[2].problem


MISTAKES = [
    ("grid:\n  fleet.replica: [1]", 3, "no such path 'fleet.replica'; did you mean fleet.replicas"),
    ("grid:\n  fleet.replicas: [1,\n    many]", 4, "must be a whole number, not 'many'"),
    ("grid:\n  router.policy: [affinity, stickie]", 3, "did you mean sticky"),
    ("grid:\n  fleet.replicas: 3", 3, "a grid needs a list"),
    ("grid:\n  fleet.replicas: [3, 3]", 3, "the same value twice"),
    ("sobol:\n  router.policy: [1, 2]", 3, "put its values in a grid (allowed: affinity,"),
    ("sobol:\n  run.epoch: [1, 2]", 3, "1 has no unit"),
    ("sobol:\n  fleet.replicas: [5, 2]", 3, "low must be less than high"),
    ("sobol:\n  fleet.replicas: {low: 1, high: 9, scale: cubic}", 3, "linear or log"),
    ("grids: {}", 2, "unknown key grids; did you mean grid?"),
    ("with: day", 2, "with must be a list"),
    ("points: 1.5", 2, "must be a whole number"),
]


@pytest.mark.parametrize(("text", "line", "complaint"), MISTAKES)
def test_mistakes_are_told_with_file_and_line(
    tmp_path: Path, text: str, line: int, complaint: str
) -> None:
    path = written(tmp_path, f"scenario: small.yaml\n{text}\n")
    with pytest.raises(UserError) as found:
        make_points(read_spec(path))
    assert str(found.value).startswith(f"{path}:{line}: ")
    assert complaint in str(found.value)


def test_a_missing_scenario_and_specs_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sweep.yaml:1: scenario: no such file"):
        read_spec(written(tmp_path, "scenario: absent.yaml\n"))
    spec = Spec(tmp_path / "small.yaml")
    for changed, complaint in (
        (spec, "nothing to sweep"),
        (with_options(spec, [], ["fleet.replicas=1..9"]), "need points"),
        (with_options(spec, ["fleet.replicas=[1]", "fleet.replicas=[2]"], []), "varied twice"),
    ):
        with pytest.raises(UserError, match=complaint):
            checked(changed)


def test_a_point_s_scenario_is_what_the_same_settings_load(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path))
    for point in make_points(spec)[:3]:
        sets = [*spec.sets, *(f"{path}={text}" for path, text in point.values.items())]
        assert load_scenario(spec.scenario, sets=sets).scenario == point.scenario


def test_the_shipped_sweep_is_one() -> None:
    points = make_points(checked(read_spec(ROOT / "scenarios" / "sweeps" / "frontier.yaml")))
    assert len(points) == 48
    assert not any(point.problem for point in points)
