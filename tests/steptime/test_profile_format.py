"""The profile file: round trip, interpolation rules, and many ways to be broken."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from steptime_scenarios import usual_rank

from kaiju_sim.catalog import gpus
from kaiju_sim.errors import UserError
from kaiju_sim.steptime import profile as profiles
from kaiju_sim.steptime.convert import (
    curves_from_profile,
    interpolate_s,
    profile_from_roofline,
)
from kaiju_sim.steptime.curves import decode_ns, prefill_ns
from kaiju_sim.steptime.profile import Points, load_profile, parse_profile, profile_json
from kaiju_sim.steptime.roofline import roofline_curves

Content = dict[str, Any]


def points(*pairs: tuple[int, float]) -> Content:
    return {"x": [x for x, _ in pairs], "seconds": [s for _, s in pairs]}


def measured_blocks() -> Content:
    """KV pools of an engine with 300 windows of nine pages."""
    settings = {"memory_utilisation": 0.9, "token_budget": 2048, "max_seqs": 256}
    return {
        "block_tokens": 128,
        "global": 5000,
        "local": 2700,
        "window_blocks": 9,
        **settings,
        "prompt_limit": 8192,
    }


def measured() -> Content:
    """A sound measured profile."""
    line = points((1, 1e-6), (1000, 1e-3), (100_000, 0.1))
    error = {"n": 50, "median_abs_rel_error": 0.02, "p95_abs_rel_error": 0.05, "bias": -0.01}
    return {
        "format": "kaiju-step-time",
        "version": 3,
        "id": "h100-13b",
        "source": "measured",
        "gpu": "H100-80GB",
        "model": "kaiju-13b",
        "tensor_parallel": 1,
        "provenance": {
            "gpu_name": "NVIDIA H100 80GB HBM3",
            "driver": "580.1",
            "sm_clock_mhz": 1980,
            "memory_clock_mhz": 2619,
            "versions": {"torch": "2.11.0", "triton": "3.6.0"},
            "date": "2026-11-21",
            "commit": "0123abc",
            "samples": "calibrate/samples/h100-13b.parquet",
        },
        "curves": {
            "rows": points((1, 4.0e-3), (256, 5.0e-3), (4096, 60.0e-3)),
            "seqs": points((1, 1.0e-4), (512, 2.0e-4)),
            "decode_global": line,
            "decode_local": line,
            "prefill_global": line,
            "prefill_local": line,
            "decode_each": points((64, 1.0e-5), (1024, 1.0e-4)),
        },
        "prefill_round_tokens": 264,
        "host_overhead_s": 0.001,
        "kv_blocks": measured_blocks(),
        "heldout": error,
        "heldout_by_kind": {"mixed": error},
        "residual": error,
    }


def read(content: Content, file: str = "p.json") -> profiles.Profile:
    return parse_profile(json.dumps(content).encode(), file)


def test_a_measured_profile_is_read() -> None:
    got = read(measured())
    assert got.heldout is not None
    assert got.heldout.p95_abs_rel_error == 0.05
    assert got.kv_blocks is not None
    assert (got.kv_blocks.global_blocks, got.kv_blocks.local_windows) == (5000, 300)
    assert got.provenance is not None
    assert got.provenance.commit == "0123abc"


def test_writing_and_reading_gives_the_same_profile() -> None:
    for profile in (
        read(measured()),
        profile_from_roofline(usual_rank(), 0.001, 2304, 256, 8704),
    ):
        assert parse_profile(profile_json(profile).encode(), "p.json") == profile


def test_what_one_sequence_waits_for_is_read_where_it_is_something() -> None:
    content = measured()
    curves = curves_from_profile(read(content), 2304, 256)
    assert curves.each
    alone, many = decode_ns(curves, 4096, 4096, 4), decode_ns(curves, 4096, 4096, 64)
    assert alone - many == pytest.approx(1.0e5 - 1.0e4, rel=1e-6)
    content["curves"]["decode_each"] = points((64, 0.0), (1024, 0.0))
    assert not curves_from_profile(read(content), 2304, 256).each
    del content["curves"]["decode_each"]
    with pytest.raises(UserError, match=r"curves\.decode_each: this key is missing"):
        read(content)


def test_a_roofline_survives_the_format() -> None:
    rank = usual_rank()
    direct = roofline_curves(rank, 0.001, 2304, 256)
    profile = profile_from_roofline(rank, 0.001, 2304, 256, 8704)
    back = curves_from_profile(profile, 2304, 256)
    assert back.host_ns == direct.host_ns
    np.testing.assert_allclose(back.rows_ns, direct.rows_ns, rtol=5e-3)
    np.testing.assert_allclose(back.seqs_ns, direct.seqs_ns, rtol=2e-3)
    for x in (1, 5, 999, 123_456, 10**7):
        assert decode_ns(back, x, x, 1) == pytest.approx(decode_ns(direct, x, x, 1), rel=1e-6)
        assert prefill_ns(back, x, x) == pytest.approx(prefill_ns(direct, x, x), rel=1e-6)


def test_interpolation_rules() -> None:
    staircase = Points(x=(16, 64, 128, 256), seconds=(1.0, 1.0, 3.0, 5.0))
    x = np.array([0, 1, 16, 32, 96, 128, 192, 256, 384], dtype=np.float64)
    expected = [0, 1, 1, 1, 2, 3, 4, 5, 7]
    np.testing.assert_allclose(interpolate_s(staircase, x), expected)


def test_extrapolation_never_falls() -> None:
    noisy = Points(x=(1, 100, 200), seconds=(1.0, 5.0, 4.8))
    assert interpolate_s(noisy, np.array([400.0]))[0] == 4.8


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 2**40), st.floats(1e-9, 10.0)), min_size=2, max_size=30),
    st.lists(st.integers(0, 2**47), min_size=2, max_size=30),
)
def test_monotone_points_give_monotone_times(pairs: list[tuple[int, float]], at: list[int]) -> None:
    x = sorted({x for x, _ in pairs} | {3, 2**20})
    seconds = np.cumsum([s for _, s in pairs] + [0.1, 0.1])[: len(x)]
    curve = Points(x=tuple(x), seconds=tuple(float(s) for s in seconds))
    values = interpolate_s(curve, np.array(sorted(at), dtype=np.float64))
    assert np.all(np.diff(values) >= -1e-12 * values[1:])


def without(*path: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


def put(value: Any, *path: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


BROKEN = [
    (without("heldout"), "heldout: this key is missing"),
    (without("curves", "seqs"), "curves.seqs: this key is missing"),
    (without("provenance", "commit"), "provenance.commit: this key is missing"),
    (put(None, "provenance"), "provenance is missing: a measured profile"),
    (put(None, "heldout"), "heldout is missing: a measured profile"),
    (put({}, "curves", "row"), "curves.row: unknown key (did you mean 'rows'?)"),
    (put(2, "version"), "version: this program reads version 3, not 2"),
    (without("version"), "version: this program reads version 3, not None"),
    (put("other", "format"), "key 'format' must be 'kaiju-step-time'"),
    (
        put("guessed", "source"),
        "source: Input should be 'measured', 'derived' or 'roofline', not 'guessed'",
    ),
    (put("Bad Id", "id"), "id: String should match"),
    (put("1", "tensor_parallel"), "tensor_parallel: Input should be a valid integer, not '1'"),
    (put(0, "tensor_parallel"), "tensor_parallel: Input should be greater than or equal to 1"),
    (put(-0.001, "host_overhead_s"), "host_overhead_s: Input should be greater than or equal"),
    (put(float("nan"), "host_overhead_s"), "NaN is not a number that a profile may hold"),
    (put(float("inf"), "host_overhead_s"), "Infinity is not a number that a profile may hold"),
    (put([1, 256], "curves", "rows", "x"), "curves.rows: x has 2 points, seconds 3"),
    (put([1, 300, 256], "curves", "rows", "x"), "curves.rows: x must increase: point 2 is 256"),
    (put([1, 256, 256], "curves", "rows", "x"), "curves.rows: x must increase: point 2 is 256"),
    (put([0, 256, 300], "curves", "rows", "x"), "curves.rows: x must lie between 1 and 2**48"),
    (put([1, 2, 2**60], "curves", "rows", "x"), "curves.rows: x must lie between 1 and 2**48"),
    (put([1.5, 2, 3], "curves", "rows", "x"), "curves.rows.x.0: Input should be a valid integer"),
    (put([1, -1, 2], "curves", "rows", "seconds"), "seconds must lie between 0 and 100000"),
    (put([1, 1, 1e9], "curves", "rows", "seconds"), "seconds must lie between 0 and 100000"),
    (put([1, 0.5, 2], "curves", "rows", "seconds"), "seconds must not fall by over 10%: point 1"),
    (put(["a", 1, 2], "curves", "rows", "seconds"), "curves.rows.seconds.0: Input should be a va"),
    (put([1], "curves", "rows", "x"), "curves.rows.x: Tuple should have at least 2 items"),
    (put("21.11.2026", "provenance", "date"), "provenance.date: Input should be a valid date"),
    (put("main", "provenance", "commit"), "provenance.commit: String should match"),
    (put({}, "provenance", "versions"), "provenance.versions: Dictionary should have at least 1"),
    (put(0, "heldout", "n"), "heldout.n: Input should be greater than or equal to 1"),
    (put(0.9, "heldout", "median_abs_rel_error"), "median_abs_rel_error must not exceed"),
    (put(-2, "heldout", "bias"), "heldout.bias: Input should be greater than -1"),
    (put({"global": 1}, "kv_blocks"), "kv_blocks.block_tokens: this key is missing"),
    (put(0, "kv_blocks", "window_blocks"), "kv_blocks: local and window_blocks are both 0"),
    (put(-1, "prefill_round_tokens"), "prefill_round_tokens: Input should be greater than"),
    (without("prefill_round_tokens"), "prefill_round_tokens: this key is missing"),
    (put({"mixed": 1}, "heldout_by_kind"), "heldout_by_kind.mixed: "),
    (put([], "curves"), "curves: "),
]


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[m for _, m in BROKEN])
def test_broken_profiles(change: Callable[[Content], None], message: str) -> None:
    content = measured()
    change(content)
    with pytest.raises(UserError) as error:
        read(content, "some/p.json")
    text = str(error.value)
    assert text.startswith("some/p.json")
    assert message in text
    assert "\n" not in text
    assert len(text) < 250


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "p.json:1: not valid JSON"),
        (b"{\n 'a': 1}", "p.json:2: not valid JSON"),
        (b"[1, 2]", "not a profile: key 'format'"),
        (b'{"format": "kaiju-step-time", "format": "x"}', "key 'format' appears twice"),
        (b"\xff\xfe\x00", "p.json: not a profile"),
        (b"[" * 200_000, "p.json"),
        (b'{"format": ' + b"9" * 10_000 + b"}", "p.json: not a profile"),
    ],
)
def test_files_that_are_not_profiles(content: bytes, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_profile(content, "p.json")
    assert message in str(error.value)


def test_loading_by_path_and_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "h100-13b"
    folder.mkdir()
    (folder / "profile.json").write_text(json.dumps(measured()))
    by_path = load_profile(str(folder / "profile.json"))
    assert load_profile("h100-13b/profile.json", tmp_path) == by_path
    monkeypatch.setattr(profiles, "_measured", lambda: tmp_path)
    assert profiles.shipped_profiles() == ["h100-13b"]
    assert load_profile("h100-13b") == by_path
    with pytest.raises(UserError, match="unknown profile 'h100-13B' .did you mean 'h100-13b'"):
        load_profile("h100-13B")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: cannot read the profile: No such file"):
        load_profile("none.json", tmp_path)
    with pytest.raises(UserError, match="cannot read the profile: Is a directory"):
        load_profile(f"{tmp_path}/")
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(profiles.MAX_BYTES + 1)
    with pytest.raises(UserError, match="at most 16777216 are read"):
        load_profile(str(huge))


def test_shipped_profiles_are_sound() -> None:
    for name in profiles.shipped_profiles():
        assert load_profile(name).gpu in gpus.gpu_names()
