"""The parts of the job: interval, pace, telling, names, provenance, storing."""

import io
import json
import math
from pathlib import Path
from random import Random
from statistics import median

import pytest
from fake_rig import FakeClock

from calibrate.design.item import EARLY, KEEP, LATE, MIDDLE
from calibrate.measure.interval import LEVEL, half_width, is_narrow, rank_of
from calibrate.measure.operators import repeated
from calibrate.measure.pace import Pace, droppable
from calibrate.measure.talk import Talk
from calibrate.provenance import (
    NO_COMMIT,
    catalog_gpu,
    commit,
    profile_id,
    provenance,
    software,
)
from calibrate.samples import Store, Visit, read_job
from kaiju_sim.errors import UserError


@pytest.mark.parametrize(("n", "rank"), [(1, 0), (4, 0), (5, 1), (8, 1), (9, 2), (25, 8)])
def test_ranks_of_the_interval(n: int, rank: int) -> None:
    assert rank_of(n) == rank
    outside = 2 * sum(math.comb(n, i) for i in range(rank)) / 2**n
    assert 1 - outside >= LEVEL or rank == 0


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = Random(1)
    hits = 0
    for _ in range(2000):
        drawn = [1 + rng.expovariate(1.0) for _ in range(9)]
        k, ranked = rank_of(9), sorted(drawn)
        hits += ranked[k - 1] <= 1 + math.log(2) <= ranked[-k]
    assert hits / 2000 > 0.93


def test_narrow_is_four_in_a_thousand() -> None:
    assert is_narrow([1.0, 1.0, 1.0, 1.0, 1.0079])
    assert not is_narrow([1.0, 1.0, 1.0, 1.0, 1.0081])
    assert half_width([1.0] * 4) == math.inf


def test_samples_repeat_until_narrow_and_leave_the_first_out() -> None:
    slow_start = iter([9.0] + [1.0] * 5)
    assert repeated(lambda: next(slow_start)) == [1.0] * 5
    rng = Random(2)
    assert len(repeated(rng.random)) == 10


def test_what_goes_first_when_time_is_short() -> None:
    ranks = [KEEP, EARLY, MIDDLE, EARLY, LATE, KEEP]
    assert droppable([1.0] * 6, ranks, 6.0) == []
    assert droppable([1.0] * 6, ranks, 4.5) == [3, 1]
    assert droppable([1.0] * 6, ranks, 0.0) == [3, 1, 2, 4]


def test_the_pace_learns_and_leaves_compiling_out() -> None:
    clock = FakeClock()
    pace = Pace(clock, 0.0, 100.0, lambda: 20.0)
    clock.seconds = 30.0
    assert (pace.left(), pace.elapsed(), pace.fraction()) == (90.0, 30.0, 0.25)
    assert pace.scale == 1.0
    pace.learn(45.0, 95.0)
    assert pace.scale == 2.0


def test_a_log_gets_a_line_each_tenth() -> None:
    text = io.StringIO()
    talk = Talk(text)
    with talk.bar():
        for percent in range(0, 101):
            talk.progress("steps", percent / 100, 100.0 - percent)
    lines = text.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[5] == " 50%  steps, 0:50 left"


class Terminal(io.StringIO):
    """A stream that says somebody looks."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    text = Terminal()
    talk = Talk(text)
    with talk.bar():
        talk.progress("steps", 0.25, 90.0)
        talk.say("a line [with brackets]")
    assert "a line [with brackets]" in text.getvalue()
    talk.say("after")
    assert text.getvalue().endswith("after\n")


def test_quiet_says_nothing() -> None:
    text = Terminal()
    talk = Talk(text, quiet=True)
    with talk.bar():
        talk.say("x")
        talk.progress("steps", 0.5, 1.0)
    assert text.getvalue() == ""


@pytest.mark.parametrize(
    ("card", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100-80GB"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
    ],
)
def test_a_card_finds_its_catalog_name(card: str, name: str) -> None:
    assert catalog_gpu(card) == catalog_gpu(card, name) == name


def test_a_card_that_is_unknown_or_another_is_an_error() -> None:
    with pytest.raises(UserError, match="H100 PCIe is not in the catalog .*--gpu"):
        catalog_gpu("NVIDIA H100 PCIe")
    assert catalog_gpu("NVIDIA H100 PCIe", "H100-80GB") == "H100-80GB"
    with pytest.raises(UserError, match="--gpu H200: this card is NVIDIA H100"):
        catalog_gpu("NVIDIA H100 80GB HBM3", "H200")


def test_ids_as_the_catalog_has_them() -> None:
    assert profile_id("H100-80GB", "kaiju-13b", 1) == "h100-80gb-kaiju-13b-tp1"
    assert profile_id("H200", "kaiju-110b", 2, "mha") == "h200-kaiju-110b-mha-tp2"


def test_provenance_has_what_the_profile_asks_for(tmp_path: Path) -> None:
    clocks = [{"sm_mhz": 1900.0}, {"sm_mhz": 1800.0}, {"sm_mhz": None, "memory_mhz": 2619.0}]
    about = {"gpu_name": "NVIDIA H200", "driver": "580.1", "uuid": "GPU-1"}
    found = provenance(about, {"torch": "2.11"}, clocks, FakeClock().date(), tmp_path / "x-tp1")
    assert found["sm_clock_mhz"] == 1850.0
    assert found["memory_clock_mhz"] == 2619.0
    assert (found["date"], found["samples"]) == ("2026-11-22", "calibrate/samples/x-tp1")
    assert {"gpu_name", "driver", "versions", "commit"} <= found.keys()
    assert software({"torch": "9"})["torch"] == "9"


def test_an_image_says_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calibrate.provenance.git_state", dict)
    assert commit() == (NO_COMMIT, True)
    monkeypatch.setenv("KAIJU_COMMIT", "abcdef1")
    assert commit() == ("abcdef1", False)


def visit(key: str, *seconds: float) -> Visit:
    row = {"operator": key.split("/")[1], "shape": json.dumps({"rows": 16})}
    return Visit(key, row, list(seconds))


def test_the_store_writes_every_few_visits_and_reads_them_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "job")
    store.open()
    for number in range(10):
        store.add(visit("operator/qkv/rows16", float(number)))
    assert [file.name for file in store.parts.iterdir()] == ["part-00001.json"]
    store.flush()
    again = Store(tmp_path / "job")
    again.open()
    assert again.seconds("operator/qkv/rows16") == [float(n) for n in range(10)]
    again.finish()
    assert not again.parts.exists()
    last = Store(tmp_path / "job")
    last.open()
    assert last.visits.keys() == {"operator/qkv/rows16"}
    assert median(last.seconds("operator/qkv/rows16")) == 4.5


def test_a_finish_that_is_killed_while_it_removes_parts_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.open()
    for number in range(24):
        store.add(visit(f"operator/qkv{number}/rows16", float(number)))

    def killed(folder: Path, **_: object) -> None:
        if folder.exists():
            next(folder.iterdir()).unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("calibrate.samples.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            store.finish()
    again = Store(tmp_path)
    again.open()
    assert len(again.visits) == 24


def test_a_plan_that_comes_back_is_not_given_the_samples_of_the_one_between(
    tmp_path: Path,
) -> None:
    store, other = Store(tmp_path), visit("operator/qkv/rows16", 9.0)
    other.row["shape"] = json.dumps({"rows": 17})
    store.open()
    store.write([visit("operator/qkv/rows16", 1.0), other, visit("operator/qkv/rows16", 2.0)])
    plan = {"operator/qkv/rows16": visit("operator/qkv/rows16").row}
    assert store.forget_changed(plan) == ["operator/qkv/rows16"]
    assert store.seconds("operator/qkv/rows16") == [1.0, 2.0]
    assert store.forget_changed({}) == ["operator/qkv/rows16"]
    assert not store.visits


def test_samples_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.parts.mkdir()
    (store.parts / "part-00001.json").write_text('[{"key": ')
    with pytest.raises(UserError, match=r"part-00001.json: cannot be read: .*--fresh"):
        store.open()
    (tmp_path / "job.json").write_text("[]")
    with pytest.raises(UserError, match="is not a job"):
        read_job(tmp_path)
    assert read_job(tmp_path / "none") == {}


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make"):
        Store(tmp_path / "file").lock()


def test_two_jobs_do_not_share_a_folder(tmp_path: Path) -> None:
    first, second = Store(tmp_path), Store(tmp_path)
    first.lock()
    with pytest.raises(UserError, match="another job is measuring"):
        second.lock()
    first.close()
    second.lock()
    second.close()
