"""The fit on an engine whose true costs are known: its error, and what it may not look at."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_engine import job, planned, write_samples

from calibrate.__main__ import main
from calibrate.design.buckets import bucket_of
from calibrate.design.lists.variants import variant_of
from calibrate.fit.basis import Basis, design
from calibrate.fit.features import CURVES, Card, features_of, predicted_s
from calibrate.fit.profile import refit
from calibrate.fit.read import (
    LEAST_STEPS,
    is_aligned,
    plain_steps,
    read_samples,
    steps_to_fit,
)
from calibrate.publish import PROFILES, SAMPLES, fitted, is_enough
from calibrate.report.worth import AS_DESIGNED
from calibrate.samples import read_job
from calibrate.shapes import Chunk, StepShape
from kaiju_sim.catalog.models import find_model
from kaiju_sim.errors import UserError
from kaiju_sim.steptime.convert import curves_from_profile, interpolate_s
from kaiju_sim.steptime.profile import Profile, load_profile, parse_profile, profile_json

WINDOW = 1024
NAME = "h100-80gb-kaiju-13b-tp1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("samples") / NAME, planned())


@pytest.fixture(scope="module")
def profile(folder: Path) -> Profile:
    return refit(folder)


def changed(folder: Path, to: Path, change: Any) -> Path:
    """A copy of the samples whose steps `change` has gone through."""
    to.mkdir()
    for name in ("operators.parquet", "job.json"):
        (to / name).write_bytes((folder / name).read_bytes())
    rows = [change(dict(row)) for row in pq.read_table(folder / "steps.parquet").to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows), to / "steps.parquet")
    return to


def test_held_out_steps_are_predicted_as_well_as_they_can_be(profile: Profile) -> None:
    """The noise alone is 0.5 % a step."""
    found = profile.heldout
    assert found is not None
    assert found.n == 345
    assert found.median_abs_rel_error < 0.0075
    assert found.p95_abs_rel_error < 0.02
    assert abs(found.bias) < 0.0015
    assert set(profile.heldout_by_kind) == {"decode", "mixed", "prefill"}
    assert sum(error.n for error in profile.heldout_by_kind.values()) == 345


def test_what_kind_of_engine_it_is_is_found(profile: Profile) -> None:
    """Rounds of 264 tokens, 0.2 ms of host, nine pages a window; names, and where it was."""
    assert profile.prefill_round_tokens == 264
    assert profile.host_overhead_s == pytest.approx(2.1e-4, rel=0.05)
    assert profile.kv_blocks is not None
    assert (profile.kv_blocks.window_blocks, profile.kv_blocks.local_windows) == (9, 4444)
    assert profile.id == "h100-80gb-kaiju-13b-tp1"
    assert profile.provenance is not None
    assert profile.provenance.gpu_name == "NVIDIA H100 80GB HBM3"


def test_staircases_have_the_same_time_throughout_a_bucket(profile: Profile) -> None:
    rows = np.arange(1, 2049)
    seconds = interpolate_s(profile.curves.rows, rows.astype(np.float64))
    ends = np.array([bucket_of(int(n)) for n in rows], np.float64)
    np.testing.assert_array_equal(seconds, interpolate_s(profile.curves.rows, ends))
    assert np.unique(seconds).size > 15


def test_refitting_gives_the_same_bytes_in_any_order(
    folder: Path, profile: Profile, tmp_path: Path
) -> None:
    again = changed(folder, tmp_path / "copy", lambda row: row)
    table = pq.read_table(again / "steps.parquet")
    backwards = table.take(np.arange(table.num_rows)[::-1])
    pq.write_table(backwards, again / "steps.parquet")
    assert profile_json(refit(again)) == profile_json(profile)
    assert parse_profile(profile_json(profile).encode(), "p.json") == profile


def test_held_out_times_have_no_say(folder: Path, profile: Profile, tmp_path: Path) -> None:
    def slower(row: dict[str, Any]) -> dict[str, Any]:
        if row["set"] == "heldout":
            row["wall_s"] = [1.25 * s for s in row["wall_s"]]
        return row

    other = refit(changed(folder, tmp_path / "slower", slower))
    assert other.curves == profile.curves
    assert other.heldout is not None
    assert other.heldout.bias == pytest.approx(1 / 1.25 - 1, abs=0.005)


def test_a_fit_step_of_the_same_shape_as_a_held_out_one_is_left_out(tmp_path: Path) -> None:
    held, grid = planned("heldout/00"), planned("decode", "prefill", "edge")
    twins = [(f"twin/{i}", "fit", shape) for i, (_, _, shape) in enumerate(held)]
    plain = refit(write_samples(tmp_path / "a", [*grid, *held]))
    both = refit(write_samples(tmp_path / "b", [*grid, *held, *twins]))
    assert plain.residual is not None
    assert both.residual is not None
    assert both.residual.n == plain.residual.n


def test_spoilt_steps_do_little_harm(tmp_path: Path) -> None:
    found = refit(write_samples(tmp_path / "spoilt", planned(), spoilt=0.03)).heldout
    assert found is not None
    assert found.median_abs_rel_error < 0.0085
    assert abs(found.bias) < 0.003


def test_steps_that_share_pages_are_not_fitted(folder: Path) -> None:
    samples = read_samples(folder)
    assert {step.kind for step in plain_steps(samples, "fit")} == {"decode", "prefill", "mixed"}
    assert any(step.kind == "shared" for step in samples.steps)


def test_only_the_fits_steps_off_the_pages_edges_are_fitted(folder: Path) -> None:
    samples = read_samples(folder)
    found = steps_to_fit(samples)
    assert {step.set for step in found} == {"fit"}
    assert not any(is_aligned(step.shape) for step in found)
    assert any(len(step.shape.decodes) == 1 for step in found)
    assert [is_aligned(StepShape(d)) for d in ((256, 128), (256, 129), ())] == [True, False, False]


def test_aligned_steps_have_no_say(tmp_path: Path) -> None:
    """A grid of them, such as an earlier plan had, changes nothing."""
    some = planned("edge", "mixed", "heldout/0")
    grid = [(f"decode/b{n}/c{c}", "fit", StepShape((c,) * n)) for n in (1, 64) for c in (256, 4096)]
    plain = refit(write_samples(tmp_path / "a", some))
    assert refit(write_samples(tmp_path / "b", [*some, *grid])) == plain


def test_features_have_the_mean_window_of_the_decodes() -> None:
    shapes = [
        StepShape((500, 3000, 9000)),
        StepShape((3000,), (Chunk(7, 0),)),
        StepShape((65,) * 9),
    ]
    each = features_of(shapes, Card(WINDOW, 264))[:, CURVES.index("decode_each")]
    assert list(each) == [(500 + 1024 + 1024) // 3, 1024, 65]


def test_the_simulator_predicts_the_sum_of_what_was_fitted(folder: Path, profile: Profile) -> None:
    """Points, tables and slots of the simulator hold the curves as they are."""
    curves = curves_from_profile(profile, 2048, 300)
    card = Card(WINDOW, profile.prefill_round_tokens)
    shapes = [step.shape for step in plain_steps(read_samples(folder), "heldout")]
    features = features_of(shapes, card)
    total = np.full(len(shapes), profile.host_overhead_s)
    for i, name in enumerate(CURVES):
        x = features[:, i].astype(np.float64)
        total += interpolate_s(getattr(profile.curves, name), x)
    predicted = [predicted_s(curves, shape, WINDOW) for shape in shapes]
    np.testing.assert_allclose(predicted, total, rtol=1e-6)


def test_a_model_without_windows_has_no_local_curves(tmp_path: Path) -> None:
    whole = variant_of(find_model("kaiju-13b"), "no-window")
    folder = write_samples(tmp_path / "whole", planned("edge", "decode", "prefill", "heldout/0"))
    content = job() | {"variant": "no-window"}
    content["kv_blocks"] = {"block_tokens": 128, "global": 290000, "local": 0}
    (folder / "job.json").write_text(json.dumps(content))
    found = refit(folder, whole)
    assert found.model == "kaiju-13b-no-window"
    assert found.id == "h100-80gb-kaiju-13b-no-window-tp1"
    assert set(found.curves.decode_local.seconds) == {0.0}
    assert found.kv_blocks is not None
    assert found.kv_blocks.local_windows == 0


def test_held_out_steps_are_lent_where_time_ended_before_there_were_others(tmp_path: Path) -> None:
    folder = write_samples(tmp_path / "short", planned("edge", "heldout/"))
    steps = pq.read_table(folder / "steps.parquet")
    edges = [row for row in steps.to_pylist() if row["set"] == "fit"]
    held = [row for row in steps.to_pylist() if row["set"] == "heldout"]
    assert len(edges) == LEAST_STEPS - 2
    samples = read_samples(folder)
    of = {name: [s.id for s in samples.steps if s.set == name] for name in ("fit", "heldout")}
    assert samples.lent == len(of["fit"]) - len(edges) == len(held) - len(held) // 3
    assert set(of["fit"]).isdisjoint(of["heldout"])
    assert sorted([*of["fit"], *of["heldout"]]) == sorted(row["id"] for row in edges + held)
    other = [{**row, "wall_s": [2 * s for s in row["wall_s"]]} for row in edges + held]
    pq.write_table(pa.Table.from_pylist(other, steps.schema), folder / "steps.parquet")
    again = [step.id for step in read_samples(folder).steps if step.set == "heldout"]
    assert again == of["heldout"], "whatever they took"
    many = write_samples(tmp_path / "many", planned("edge", "chunks", "heldout/"))
    assert read_samples(many).lent == 0


def test_too_few_steps_and_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="0 steps to fit and 0 held out are too few"):
        refit(tmp_path)
    few = write_samples(tmp_path / "few", planned("chunks", "anchor"))
    with pytest.raises(UserError, match="24 steps to fit and 0 held out are too few"):
        refit(few)
    (few / "job.json").write_text("[]")
    with pytest.raises(UserError, match=r"job\.json: is not a job"):
        refit(few)


def test_the_command_prints_the_block_and_writes_what_is_read(
    folder: Path, profile: Profile, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["refit", NAME, "--out", str(folder.parent), "--write"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    block = json.loads(profile_json(profile))
    assert {key: found[key] for key in block.keys() - {"curves"}} == {
        key: block[key] for key in block.keys() - {"curves"}
    }
    assert {"global", "local", "block_tokens"} <= found["kv_blocks"].keys()
    assert load_profile(str(folder / "profile.json")) == profile


def test_every_committed_profile_comes_from_its_samples() -> None:
    """Those in the package are those of the samples that may be fitted: a variant's short plan, in
    which nothing is held out, has none (`scripts/derive_variants.py` makes one), and samples from
    the card of the variants are only kept beside them."""
    folders = {path.parent.name: path.parent for path in SAMPLES.glob("*/job.json")}
    files = {path.parent.name: path for path in PROFILES.glob("*/profile.json")}
    shipped = {k: v for k, v in files.items() if load_profile(str(v)).source == "measured"}
    main_cards = {name: path for name, path in folders.items() if f"-{AS_DESIGNED}-" not in name}
    enough = {name for name, folder in main_cards.items() if not is_enough(read_job(folder))}
    assert NAME in shipped
    assert shipped.keys() == enough
    for name, file in shipped.items():
        assert profile_json(fitted(folders[name])) == file.read_text(), name


@pytest.mark.parametrize("cached", [0, 300, 5000])
def test_features_are_counted_as_the_engine_counts(cached: int) -> None:
    """One chunk of 300 tokens: two rounds of 264, of pages' worth of keys."""
    chunk = StepShape((), (Chunk(300, cached),))
    rows, seqs, context, window, pairs, near, each = features_of([chunk], Card(WINDOW, 264))[0]
    exact = 300 * cached + 300 * 301 // 2
    assert (rows, seqs, context, window, each) == (300, 1, 0, 0, 0)
    assert pairs == max(exact * 528 // 300, (cached + 300) * 264)
    assert features_of([chunk], Card(WINDOW, 0))[0][4] == exact
    seen = sum(min(cached + i, WINDOW) for i in range(1, 301))
    assert near == max(seen * 528 // 300, min(cached + 300, WINDOW) * 264)


def test_design_reaches_each_rise_in_turn() -> None:
    line = design(Basis("decode_global", np.array([4, 8, 16])), np.array([0, 2, 4, 6, 16, 99]))
    expected = [[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0.5, 0], [1, 1, 1], [1, 1, 1]]
    np.testing.assert_array_equal(line, expected)
    stairs = design(Basis("rows", np.array([16, 32])), np.array([0, 1, 16, 17, 32]))
    np.testing.assert_array_equal(stairs, [[0, 0], [1, 0], [1, 0], [1, 1], [1, 1]])
