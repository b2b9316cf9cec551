"""ServeGen: what is in the fits, requests drawn from them, and what is refused."""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from kaiju_sim.errors import UserError
from kaiju_sim.workload.traces import Limits, Stretch, fit_figures, read_fits, read_trace
from kaiju_sim.workload.traces.analysis import interarrival_cv
from kaiju_sim.workload.traces.servegen import draw_trace
from kaiju_sim.workload.traces.servegen.draw import arrivals, expected_requests
from kaiju_sim.workload.traces.servegen.fits import GAMMA, WEIBULL

DAY = 144
Pair = Callable[..., Path]


def rates(**changes: Any) -> dict[str, list[Any]]:
    """Client 3 at 2/s (Gamma, CV 2), client 5 at 0.5/s in every second window (Weibull)."""
    busy = [window % 2 == 0 for window in range(DAY)]
    columns: dict[str, list[Any]] = {
        "client": [3] * DAY + [5] * DAY,
        "timestamp": [600 * window for window in range(DAY)] * 2,
        "rate": [2.0] * DAY + [0.5 if on else 0.0 for on in busy],
        "cv": [2.0] * DAY + [1.5 if on else 0.0 for on in busy],
        "pattern": ["Gamma"] * DAY + ["Weibull" if on else None for on in busy],
        "param1": [0.25] * DAY + [0.7 if on else 0.0 for on in busy],
        "param2": [2.0] * DAY + [1.0] * DAY,
    }
    return columns | changes


def lengths(**changes: Any) -> dict[str, list[Any]]:
    """Client 3: inputs 10 and 20, outputs 5; other lengths from the second window on."""
    columns: dict[str, list[Any]] = {
        "client": [3] * 6,
        "window": [0, 0, 0, 21600, 21600, 0],
        "field": ["input_tokens", "input_tokens", "output_tokens"] * 1
        + ["input_tokens", "output_tokens", "reason_ratio"],
        "value": [10.0, 20.0, 5.0, 100.0, 7.0, 0.5],
        "prob": [0.25, 0.75, 1.0, 1.0, 1.0, 1.0],
    }
    return columns | changes


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Write a pair of files; columns may be replaced (`...` drops one)."""

    def to_files(trace: dict[str, Any] | None = None, data: dict[str, Any] | None = None) -> Path:
        for name, columns in (
            ("trace", rates(**(trace or {}))),
            ("dataset", lengths(**(data or {}))),
        ):
            kept = {key: values for key, values in columns.items() if values is not ...}
            parquet.write_table(pa.table(kept), tmp_path / f"m.{name}.parquet")
        return tmp_path / "m.trace.parquet"

    return to_files


def test_figures_of_the_fits(pair: Pair) -> None:
    figures = fit_figures(read_fits(str(pair())))
    assert (figures["clients"], figures["span_s"]) == (2, 86400)
    assert (figures["mean_rate"], figures["max_rate"]) == (2.25, 2.5)
    assert figures["hour_of_day_mean"] == [2.25] * 24
    assert figures["peak_over_mean"] == 1
    assert figures["top10_client_share"] == 1
    assert figures["gaps"] == {"gamma": 0.8889, "weibull": 0.1111, "cv_p50": 2.0, "cv_p90": 2.0}
    first, rest = 36, 36  # windows that have a histogram each
    mean = (first * 17.5 + rest * 100) / (first + rest)
    assert figures["input"]["mean"] == pytest.approx(mean, abs=0.1)
    assert figures["input"]["known_share"] == pytest.approx(72 * 2.0 / (144 * 2.25), abs=1e-4)


def test_a_pair_is_found_by_either_file_by_name_and_by_folder(pair: Pair) -> None:
    path = pair()
    want = read_fits(str(path)).sha256
    other = str(path).replace(".trace.", ".dataset.")
    for name in (other, str(path.parent), str(path.parent / "m")):
        assert read_fits(name).sha256 == want
    assert read_trace(path.parent, stretch=Stretch(0, 60)).format == "servegen"
    path.with_name("n.trace.parquet").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"name one NAME.trace.parquet of this folder; it has: m, n"
    ):
        read_fits(str(path.parent))


def test_lengths_come_from_the_clients_window_or_the_nearest(pair: Pair) -> None:
    fits = read_fits(str(pair()))
    early = draw_trace(fits, Stretch(0, 6 * 3600))
    assert set(early.prompt_tokens.tolist()) == {10, 20}
    assert (early.prompt_tokens == 20).mean() == pytest.approx(0.75, abs=0.01)
    late = draw_trace(fits, Stretch(12 * 3600, 600))
    assert set(late.prompt_tokens.tolist()) == {100}
    assert set(late.output_tokens.tolist()) == {7}
    assert fits.donors() == [3, 3]


def test_a_stretch_is_part_of_the_whole(pair: Pair) -> None:
    """A window's requests are the same whatever else is drawn, but for seed and scale."""
    path = pair()
    whole = read_trace(path, stretch=Stretch(0, 3600, seed=7))
    part = read_trace(path, stretch=Stretch(700, 1000, seed=7))
    at = whole.first_ns + whole.arrival_ns
    inside = (at >= 700 * 10**9) & (at < 1700 * 10**9)
    assert (part.first_ns + part.arrival_ns).tolist() == at[inside].tolist()
    assert part.prompt_tokens.tolist() == whole.prompt_tokens[inside].tolist()
    other = read_trace(path, stretch=Stretch(700, 1000, seed=8))
    assert other.arrival_ns.tolist() != part.arrival_ns.tolist()
    assert read_trace(path, max_rows=5, stretch=Stretch(0, 3600)).rows == 5


@pytest.mark.parametrize(("law", "shape"), [(GAMMA, 0.05), (GAMMA, 4.0), (WEIBULL, 0.4)])
@pytest.mark.parametrize("rate", [0.01, 1.0])
def test_counts_have_the_fitted_rate(law: int, shape: float, rate: float) -> None:
    """A stationary process: no surplus from starting afresh, at any burstiness."""
    random = np.random.default_rng(5)
    counts = np.array([len(arrivals(random, law, shape, rate)) for _ in range(4000)])
    error = counts.std() / math.sqrt(len(counts))
    assert abs(counts.mean() - 600 * rate) < 3.3 * error
    # A fresh start would be off by (cv^2 - 1)/2, which this would see.
    cv2 = (
        1 / shape
        if law == GAMMA
        else math.gamma(1 + 2 / shape) / math.gamma(1 + 1 / shape) ** 2 - 1
    )
    if rate == 1.0 and shape < 1:
        assert (cv2 - 1) / 2 > 3 * error


def test_gaps_have_the_fitted_variation() -> None:
    random = np.random.default_rng(6)
    gaps = np.concatenate([np.diff(arrivals(random, GAMMA, 0.25, 20.0)) for _ in range(20)])
    assert gaps.mean() == pytest.approx(1 / 20, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(2, rel=0.03)


def test_drawn_requests_follow_the_fits_of_a_service(shared_data: Path) -> None:
    fits = read_fits(str(shared_data / "servegen" / "deepseek-r1.trace.parquet"))
    draw = Stretch(20 * 3600, 4 * 3600)
    trace = draw_trace(fits, draw)
    assert trace.rows == pytest.approx(expected_requests(fits, draw), rel=0.03)
    cv = interarrival_cv(trace)
    assert cv is not None
    assert cv > 1


BROKEN_RATES = {
    "negative": ({"rate": [-1.0] + [1.0] * 287}, 1, "rate is -1.0: use 0 to"),
    "nan": ({"rate": [1.0, float("nan")] + [1.0] * 286}, 2, "rate is nan"),
    "null": ({"rate": [1.0, None] + [1.0] * 286}, 2, "a value is empty"),
    "law": ({"pattern": ["Pareto"] * 288}, 1, "pattern is 'Pareto': use one of nothing, Gamma, W"),
    "no law": ({"pattern": [""] * 288}, 1, "use Gamma or Weibull where there is a rate"),
    "shape": ({"param1": [0.0] * 288}, 1, "param1 is 0.0: use a shape from 0.0001"),
    "weibull": ({"param1": [0.25] * 144 + [0.01] * 144}, 145, "use a shape from 0.05"),
    "time": ({"timestamp": [17] * 288}, 1, "timestamp is 17: use a multiple of 600 s"),
    "far": ({"timestamp": [600 * 10**9] * 288}, 1, "timestamp is 600000000000"),
    "twins": ({"timestamp": [0] * 288}, 2, "one row for each client and time"),
    "type": ({"rate": ["1"] * 288}, None, "column 'rate' has type 'string': use numbers"),
    "fraction": ({"client": [0.5] * 288}, None, "'client' has type 'double': use whole numbers"),
    "missing": ({"cv": ...}, None, "column 'cv' is missing"),
    "unknown": ({"colour": [1] * 288}, None, "unknown column 'colour'"),
    "empty": ({name: pa.table(rates())[name].slice(0, 0) for name in rates()}, None, "no rows"),
}  # fmt: skip
BROKEN_LENGTHS = {
    "sum": ({"prob": [0.25, 0.5, 1.0, 1.0, 1.0, 1.0]}, 1, "add up to 0.75, not 1"),
    "prob": ({"prob": [0.25, 0.75, 1.0, 1.0, -1.0, 1.0]}, 5, "prob is -1.0: use a probability"),
    "value": ({"value": [10.0, -2.0, 5.0, 100.0, 7.0, 0.5]}, 2, "value is -2.0: use tokens"),
    "stranger": ({"client": [3, 3, 3, 3, 4, 3]}, 5, "client is 4: use a client of the trace"),
    "window": ({"window": [0, 0, 0, 21600, 7, 0]}, 5, "window is 7: use a multiple of 21600 s"),
    "one way": ({"field": ["input_tokens"] * 6, "prob": [0.1, 0.2, 0.3, 0.5, 0.5, 0.4]}, None,
                "client 3 has not both"),
    "no field": ({"field": ["other"] * 6}, None, "no lengths: field must have input_tokens"),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*BROKEN_RATES, *BROKEN_LENGTHS])
def test_broken_fits_are_named(kind: str, pair: Pair) -> None:
    bad_rates = kind in BROKEN_RATES
    changes, row, wanted = (BROKEN_RATES if bad_rates else BROKEN_LENGTHS)[kind]
    path = pair(changes) if bad_rates else pair(None, changes)
    with pytest.raises(UserError) as caught:
        read_fits(str(path))
    assert wanted in str(caught.value)
    assert caught.value.line == row
    assert str(caught.value.file).endswith("trace.parquet" if bad_rates else "dataset.parquet")


def test_files_that_are_no_pair(pair: Pair) -> None:
    path = pair()
    path.with_name("m.dataset.parquet").write_bytes(b"PAR1 junk PAR1")
    with pytest.raises(UserError, match="not readable as Parquet"):
        read_fits(str(path))
    path.with_name("m.dataset.parquet").unlink()
    with pytest.raises(UserError, match="m.dataset.parquet: cannot open the trace: No such file"):
        read_fits(str(path))
    with pytest.raises(UserError, match="more than 100 rows"):
        read_fits(str(pair()), Limits(rows=100))


@pytest.mark.parametrize(
    ("stretch", "wanted"),
    [
        (Stretch(90_000, 60), "covers 86,400 s: start within it"),
        (Stretch(0, 0), "start within it"),
        (Stretch(0, 60, 0.0), "start within it"),
        (Stretch(0, None, 1e3), "about 194,400,000 requests would be drawn, at most 10,000,000"),
        (Stretch(0, 1e-6), "no request was drawn in this stretch"),
    ],
)
def test_what_cannot_be_drawn(stretch: Stretch, wanted: str, pair: Pair) -> None:
    with pytest.raises(UserError, match=wanted):
        read_trace(pair(), stretch=stretch)


def test_only_fits_have_a_scale(write: Callable[[str, str], Path]) -> None:
    file = write("a.csv", "arrival_s,prompt_tokens,output_tokens\n0,1,1\n")
    with pytest.raises(UserError, match="only the clients of ServeGen fits have a scale"):
        read_trace(file, stretch=Stretch(scale=2))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), which=st.sampled_from(["trace", "dataset"]))
def test_damaged_fits_give_a_clear_error(data: st.DataObject, which: str, pair: Pair) -> None:
    path = pair()
    file = path.with_name(f"m.{which}.parquet")
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    file.write_bytes(content)
    with contextlib.suppress(UserError):
        drawn = draw_trace(read_fits(str(path)), Stretch(0, 1200), Limits(rows=100_000))
        assert (np.diff(drawn.arrival_ns) >= 0).all()
        assert min(drawn.prompt_tokens.min(), drawn.output_tokens.min()) >= 1
