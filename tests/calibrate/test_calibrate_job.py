"""The whole job on a rig that is known: plan, measure, stop, go on, other cards, budget, JSON."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import fake_rig
import pyarrow.parquet as pq
import pytest
from fake_rig import FakeCard, FakeClock, FakeRig

from calibrate import publish, run
from calibrate.__main__ import main
from calibrate.job import WHOLE
from calibrate.measure.talk import Talk
from calibrate.samples import read_job, read_steps
from calibrate.shapes import StepShape, shape_of
from kaiju_sim.errors import UserError

ID = "h100-80gb-kaiju-13b-tp1"


@pytest.fixture(autouse=True, scope="module")
def no_fit() -> Iterator[None]:
    """What is fitted is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "publish", lambda folder, target: None)
        yield


class Whole(NamedTuple):
    """A job that was measured to its end."""

    out: Path
    rig: FakeRig
    clock: FakeClock
    result: dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Measured once; not to be written to."""
    rig, clock = fresh_rig()
    out = tmp_path_factory.mktemp("whole")
    return Whole(out, rig, clock, go(out, rig, clock))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that was stopped in the middle; not to be written to."""
    out = tmp_path_factory.mktemp("stopped")
    rig, clock = fresh_rig()
    stop_after(rig, 1500)
    with pytest.raises(KeyboardInterrupt):
        go(out, rig, clock)
    return out


@pytest.fixture
def stopped_job(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(stopped, tmp_path / "copy"))


def go(
    out: Path, rig: FakeRig, clock: FakeClock, budget_s: float = 480.0, **more: Any
) -> dict[str, Any]:
    asked = run.Asked("kaiju-13b", 1, "auto", out, budget_s, **more)
    return run.run(asked, [], Talk(quiet=True), lambda line: None, rig.opened, clock)


def fresh_rig(**options: Any) -> tuple[FakeRig, FakeClock]:
    clock = FakeClock()
    return FakeRig(clock, **options), clock


def stop_after(rig: FakeRig, runs: int, error: type[BaseException] = KeyboardInterrupt) -> None:
    left = [runs]

    def count() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise error

    rig.steps.before_run = count


def test_a_whole_job_measures_all_twice_within_its_budget(whole: Whole) -> None:
    tmp_path, rig, clock, result = whole
    rows = read_steps(tmp_path / ID)
    assert result["id"] == ID
    planned = {"fit": 574, "heldout": 345, "anchor": 10, "aim": 8}
    assert result["done"] == result["planned"] == planned
    assert result["dropped"] == 0
    assert clock.seconds <= 480 + fake_rig.COMPILE_S
    assert rig.closed
    assert not (tmp_path / ID / "parts").exists()
    assert {max(row["visit"]) for row in rows if row["set"] != "anchor"} >= {1}
    for row in rows:
        assert 5 <= len(row["wall_s"]) == len(row["gpu_s"]) <= 25
        exact = rig.steps.exact_s(shape_of(row))
        assert median(row["gpu_s"]) == pytest.approx(exact, rel=0.01)
    job = read_job(tmp_path / ID)
    assert job["host"] == pytest.approx(dict.fromkeys(job["host"], 4e-4), rel=1e-6)
    assert set(job["host"]) == {"beam", "decode", "mixed", "prefill", "shared"}
    assert job["links"]["to_host"]["bytes_per_s"] == pytest.approx(50e9, rel=0.01)
    assert len(job["drift"]) == len(job["anchors"]) == 10
    assert max(map(abs, job["drift"].values())) < 0.02
    assert job["provenance"]["gpu_name"] == fake_rig.H100
    assert job["provenance"]["sm_clock_mhz"] == 1900.0
    assert any(name.startswith("operator/norm/") for name in job["operators_left_out"])


def test_operators_are_a_table_of_their_own(whole: Whole) -> None:
    rows = pq.read_table(whole.out / ID / "operators.parquet").to_pylist()
    assert {row["operator"] for row in rows} == {"qkv", "o", "up", "down"}
    assert {json.loads(row["shape"])["rows"] for row in rows} >= {16, 256, 2048}
    assert all(len(row["seconds"]) >= 5 for row in rows)


def test_held_out_and_fit_steps_are_interleaved(whole: Whole) -> None:
    """Both see the same clocks: their mean times of measurement do not differ."""
    rows = read_steps(whole.out / ID)
    means = {
        of: sum(r["at_s"] for r in rows if r["set"] == of) / sum(r["set"] == of for r in rows)
        for of in ("fit", "heldout")
    }
    last = max(row["at_s"] for row in rows)
    assert abs(means["fit"] - means["heldout"]) < 0.1 * last


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_stops_the_job_keeps_what_is_measured(tmp_path: Path, error: type[Exception]) -> None:
    rig, clock = fresh_rig()
    stop_after(rig, 2000, error)
    with pytest.raises(error):
        go(tmp_path, rig, clock)
    folder = tmp_path / ID
    stopped = read_job(folder)
    assert rig.closed
    assert not stopped["complete"]
    assert stopped["done"]["heldout"] > 50
    before = len(rig.steps.shapes)

    rig, clock = fresh_rig(seed=2)
    result = go(tmp_path, rig, clock)
    assert result["done"] == result["planned"]
    waiting = 937 - before  # of which anchors have the shape of another step
    assert len(set(rig.steps.shapes[:waiting])) > waiting - 10  # first what was not there
    job = read_job(folder)
    assert [s["card"]["uuid"] for s in job["sessions"]] == ["GPU-1", "GPU-1"]
    assert job["seconds"] > clock.seconds
    assert max(r["at_s"] for r in read_steps(folder)) > stopped["seconds"]


def test_a_step_that_fails_is_told_and_left_out(tmp_path: Path) -> None:
    rig, clock = fresh_rig()
    prepare = rig.steps.prepare

    def refuse(shape: StepShape) -> None:
        if len(shape.decodes) == 512 and shape.context > 6_000_000:
            raise ValueError("the step needs more\nthan the pool's pages")
        prepare(shape)

    rig.steps.prepare = refuse  # type: ignore[method-assign]
    result = go(tmp_path, rig, clock)
    why = "ValueError: the step needs more than the pool's pages"
    assert read_job(tmp_path / ID)["failed"] == {"decode/b512/near16384": why}
    assert result["failed"] == 1
    assert result["done"]["fit"] == result["planned"]["fit"] - 1


def test_a_kill_loses_the_last_few_visits_only(tmp_path: Path) -> None:
    """Nothing runs at the end of a killed process: parts are on disk already."""
    rig, clock = fresh_rig()
    stop_after(rig, 1000)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, rig, clock)
    parts = sorted((tmp_path / ID / "parts").iterdir())
    parts[-1].unlink()  # as if the last flush had not been
    measured = sum(len(json.loads(part.read_text())) for part in parts[:-1])
    assert len(rig.steps.shapes) - 18 < measured < len(rig.steps.shapes)
    rig, clock = fresh_rig()
    result = go(tmp_path, rig, clock)
    assert result["done"] == result["planned"]


def test_a_finished_job_is_continued_from_its_tables(whole: Whole, tmp_path: Path) -> None:
    shutil.copytree(whole.out, tmp_path, dirs_exist_ok=True)
    before = {row["id"]: row for row in read_steps(tmp_path / ID)}
    rig, clock = fresh_rig()
    go(tmp_path, rig, clock)
    after = {row["id"]: row for row in read_steps(tmp_path / ID)}
    assert after.keys() == before.keys()
    for key, row in before.items():
        n = len(row["wall_s"])
        assert after[key]["wall_s"][:n] == row["wall_s"]
        assert after[key]["at_s"] == row["at_s"]
    assert clock.seconds < 60 + fake_rig.COMPILE_S


def test_another_card_that_agrees_goes_on(stopped_job: Path) -> None:
    rig, clock = fresh_rig(card=FakeCard(uuid="GPU-2"), speed=1.01)
    result = go(stopped_job, rig, clock)
    assert result["complete"]
    compared = read_job(stopped_job / ID)["sessions"][1]["compared"]
    assert len(compared) == 10
    assert sorted(compared.values())[5] == pytest.approx(-0.01, abs=0.004)


@pytest.mark.parametrize(
    "other", [{"card": FakeCard(uuid="GPU-2")}, {"card": FakeCard(driver="590.0")}]
)
def test_a_card_of_another_speed_is_refused(stopped_job: Path, other: dict[str, Any]) -> None:
    before = read_job(stopped_job / ID)
    with pytest.raises(UserError, match="10 of 10 anchor steps differ .* by over 2 %"):
        go(stopped_job, *fresh_rig(**other, speed=1.05))
    assert read_job(stopped_job / ID) == before
    with pytest.raises(UserError, match="--fresh"):
        go(stopped_job, *fresh_rig(**other, speed=1.05))
    assert go(stopped_job, *fresh_rig(**other, speed=1.05), fresh=True)["complete"]


def test_another_type_of_gpu_is_refused(stopped_job: Path) -> None:
    other = FakeCard(name="NVIDIA H100 80GB HBM3 of another kind", uuid="GPU-3")
    with pytest.raises(UserError, match="another type of GPU"):
        go(stopped_job, *fresh_rig(card=other))


def test_anchors_that_are_missing_cannot_be_compared(tmp_path: Path) -> None:
    rig, clock = fresh_rig()
    stop_after(rig, 100)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, rig, clock)
    with pytest.raises(UserError, match="before its anchors were measured"):
        go(tmp_path, *fresh_rig(card=FakeCard(uuid="GPU-2")))


def test_a_short_budget_drops_in_order_and_never_the_minimum(tmp_path: Path) -> None:
    result = go(tmp_path, *fresh_rig(), budget_s=100.0)
    job = read_job(tmp_path / ID)
    assert result["dropped"] == len(job["dropped"]) > 100
    assert result["done"]["heldout"] >= 300
    assert result["done"]["anchor"] == 10
    gone = {name.partition("/")[0] for name in job["dropped"]}
    assert "mixed" in gone
    assert not gone & {"edge-decode", "edge-prefill", "anchor", "aim"}
    assert result["over_budget_s"] == 0


def test_slower_than_expected_still_measures_the_minimum(tmp_path: Path) -> None:
    """The estimate said it would fit: what must be there is, and the overrun is told."""
    result = go(tmp_path, *fresh_rig(speed=0.1), budget_s=100.0)
    assert result["done"]["heldout"] >= 300
    assert result["over_budget_s"] > 0


def test_a_budget_below_the_minimum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--budget: .*300 held-out steps"):
        go(tmp_path, *fresh_rig(), budget_s=10.0)


def test_only_leaves_a_whole_job_whole(whole: Whole, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole.out, tmp_path / "copy"))
    before = read_job(out / ID)
    result = go(out, *fresh_rig(), only=("edge-decode",))
    after = read_job(out / ID)
    assert result["complete"]
    assert after["repetitions"] > 0
    assert {key: after[key] for key in WHOLE} == {key: before[key] for key in WHOLE}
    assert len(after["sessions"]) == len(before["sessions"]) + 1


def test_only_measures_what_is_named_and_fits_nothing(tmp_path: Path) -> None:
    result = go(tmp_path, *fresh_rig(), only=("edge-decode",))
    assert result["done"] == {"fit": 7, "heldout": 0, "anchor": 10, "aim": 0}
    assert result["paths"]["profile"] is None
    assert not result["complete"]


def test_samples_of_another_plan_are_not_used(stopped_job: Path) -> None:
    part = stopped_job / ID / "parts" / "part-00003.json"
    visits = json.loads(part.read_text())
    visits[0]["row"]["decodes"] = [1, 2, 3]
    part.write_text(json.dumps(visits))
    go(stopped_job, *fresh_rig())
    row = next(r for r in read_steps(stopped_job / ID) if r["id"] == visits[0]["key"])
    assert row["decodes"] != [1, 2, 3]
    assert min(row["visit"]) == 0


def test_the_result_is_one_line_of_json(whole: Whole) -> None:
    line = publish.line_of(whole.result)
    assert line.count("\n") == 1
    assert json.loads(line)["paths"] == {
        "samples": str(whole.out / ID),
        "profile": str(whole.out / ID / "profile.json"),
    }


def test_a_whole_job_is_fitted_and_fits_again_the_same(
    whole: Whole, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole.out / ID, tmp_path / ID))
    target = publish.profile_file(ID, tmp_path)
    told = publish.result(folder, publish.publish(folder, target), target)
    assert told["heldout"]["n"] == 345
    assert told["heldout"]["median_abs_rel_error"] < 0.01
    assert (told["source"], told["id"], told["format"]) == ("measured", ID, "kaiju-step-time")
    written = target.read_bytes()
    assert main(["refit", ID, "--out", str(tmp_path), "--write"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == told
    assert target.read_bytes() == written


def test_variants_have_folders_of_their_own_and_one_that_fails_stops_no_other(
    tmp_path: Path,
) -> None:
    rig, clock = fresh_rig()

    def opened(request: Any) -> FakeRig:
        if request.model.kv_heads == 64:
            raise UserError("the weights do not fit")
        return rig

    asked = run.Asked("kaiju-13b", 1, "auto", tmp_path, 120.0)
    result = run.run(asked, ["mha", "gqa-8"], Talk(quiet=True), lambda _: None, opened, clock)
    assert [one["id"] for one in result["variants"]] == ["h100-80gb-kaiju-13b-gqa-8-tp1"]
    assert result["failed"] == {"mha": "the weights do not fit"}
    assert result["variants"][0]["done"]["heldout"] == 40


def test_a_variant_in_short_is_measured_and_not_fitted(tmp_path: Path) -> None:
    rig, clock = fresh_rig()
    asked = run.Asked("kaiju-13b", 1, "auto", tmp_path, 75.0)
    words: list[str] = []
    result = run.run(
        asked, ["gqa-8"], Talk(quiet=True), words.append, lambda request: rig.opened(request), clock
    )
    (told,) = result["variants"]
    assert told["done"] == told["planned"] == {"fit": 8, "heldout": 0, "anchor": 10, "aim": 3}
    assert (told["source"], told["over_budget_s"]) == (None, 0.0)
    assert told["seconds"] - told["compile_s"] < 10
