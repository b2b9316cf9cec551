"""Implementations take turns, and figures are of a call; with a clock that only counts."""

import pytest

from benchmarks.kernels import gpu, timing
from benchmarks.kernels.timing import quantile, repeats_for, side_by_side


class Counted:
    """A replay whose times are given; it notes when it is started."""

    method = "fake"

    def __init__(self, name: str, seconds: float, calls: int, log: list[str]) -> None:
        self.name, self.each, self.calls, self.log, self.queued = name, seconds, calls, log, 0

    def start(self) -> None:
        self.queued += 1
        self.log.append(self.name)

    def seconds(self) -> list[float]:
        done, self.queued = self.queued, 0
        return [self.each * (1 + 0.01 * i) for i in range(done)]


def test_turns_rotate_and_every_one_has_as_many() -> None:
    log: list[str] = []
    replays = {name: Counted(name, 1e-3, 10, log) for name in "abc"}
    found = side_by_side(replays, 0.0595)
    assert log[:6] == list("aabbcc")  # to warm up and to see how long a replay takes
    assert log[6:15] == list("abcbcacab")
    repeats = len(found["a"].us)
    assert repeats == len(found["b"].us) == len(found["c"].us) == 19
    assert found["a"].us[0] == pytest.approx(100.0)  # 1 ms for 10 calls
    assert (found["a"].calls, found["a"].method) == (10, "fake")


def test_nobody_there_is_no_error() -> None:
    assert side_by_side({}, 1.0) == {}


@pytest.mark.parametrize(
    ("replay_s", "budget_s", "repeats"),
    [([2e-3, 2e-3], 0.1, 25), ([1e-6], 1.0, timing.MOST_REPEATS), ([5.0], 1.0, 15)],
)
def test_repeats_follow_from_the_time_there_is(
    replay_s: list[float], budget_s: float, repeats: int
) -> None:
    assert repeats_for(replay_s, budget_s) == repeats


def test_quantiles_lie_between_samples() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert quantile(values, 0.5) == 2.5
    assert quantile(values, 0.05) == pytest.approx(1.15)
    assert (quantile(values, 0.0), quantile(values, 1.0), quantile([7.0], 0.95)) == (1, 4, 7)


def test_a_line_of_nvidia_smi() -> None:
    reading = gpu.parsed("1755, 2619, 642.31, 61, 0x0000000000000004", 5.0)
    assert reading == gpu.Reading(5.0, 1755.0, 2619.0, 642.31, 61.0, 4)
    assert gpu.parsed("[N/A], 2619, 642.31, 61, 0x4", 5.0) is None
    assert gpu.parsed("", 5.0) is None


def test_clocks_of_a_stretch_of_time() -> None:
    lines = [(1.0, 1980, 0), (2.0, 1700, 0x4), (3.0, 1600, 0x20), (9.0, 300, 0x1)]
    watch = gpu.Watch(readings=[gpu.Reading(at, mhz, 2619, 700, 60, r) for at, mhz, r in lines])
    assert watch.between(0.5, 3.5) == {
        "sm_mhz": 1700,
        "sm_mhz_min": 1600,
        "watts": 700,
        "slowed_by": "power cap, thermal (software)",
    }
    assert watch.between(5.0, 6.0)["sm_mhz"] is None
    assert watch.between(8.5, 9.5)["slowed_by"] == ""  # idle slows nothing down


def test_names_of_files() -> None:
    assert gpu.slug("NVIDIA H100 80GB HBM3") == "h100-80gb-hbm3"
    assert gpu.slug("NVIDIA H200") == "h200"
