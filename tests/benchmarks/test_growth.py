"""`python -m benchmarks.growth`: its scenarios, its watch, and its figure."""

import xml.etree.ElementTree as ET

import pytest

from benchmarks.growth.__main__ import plotted, point, table
from benchmarks.growth.axes import AXES
from benchmarks.growth.svg import nice_step, short

MESSAGES = 100_000.0


@pytest.mark.parametrize("axis", AXES)
def test_every_point_is_a_scenario_in_which_only_the_axis_grows(axis: str) -> None:
    points = [AXES[axis].at(at, MESSAGES) for at in AXES[axis].points]
    assert len({s.model_dump_json() for s in points}) == len(points)
    grown = {
        "gpus": lambda s: s.fleet.replicas,
        "context": lambda s: s.prompt.limit,
        "batch": lambda s: round(s.traffic.messages_per_s * 256 * 0.02 / 16),
        "block": lambda s: s.kv.block_tokens,
    }[axis]
    assert tuple(grown(s) for s in points) == AXES[axis].points
    assert len({s.steptime.kind for s in points}) == len({s.router.policy for s in points}) == 1


def test_load_and_characters_of_a_gpu_stay_the_same() -> None:
    few, many = (AXES["gpus"].at(n, MESSAGES) for n in (100, 1000))
    for share in (
        lambda s: s.traffic.messages_per_s / s.fleet.replicas,
        lambda s: s.traffic.sessions.live / s.fleet.replicas,
        lambda s: s.characters.count / s.fleet.replicas,
    ):
        assert share(many) == pytest.approx(share(few), rel=1e-3)


def test_a_point_measures_the_batch_that_it_asks_for() -> None:
    found = point("batch", 16, 30_000.0)
    assert found["batch"] == pytest.approx(16, rel=0.05)
    assert found["steps_per_message"] == pytest.approx(16, rel=0.05)
    assert found["messages_per_s"] > 1000
    ns = found["ns_per_step"] * found["steps_per_message"]
    assert ns == pytest.approx(1e9 / found["messages_per_s"], rel=0.3)


def test_figure_and_table_hold_every_point() -> None:
    row = {"steps_per_message": 1.0, "ns_per_step": 1.0, "batch": 1.0, "hit_rate": 0.5}
    made = [
        {"at": at, "messages_per_s": 1e5 * (i + 1), "peak_rss_bytes": 1, **row}
        for i, at in enumerate(AXES["gpus"].points)
    ]
    root = ET.fromstring(plotted({"gpus": made, "block": made}))
    assert len(root.findall(".//{*}circle")) == 2 * len(made)
    words = {e.text for e in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"GPUs", "tokens per KV block", "3K", "600K"} <= words
    assert len(table("gpus", made).splitlines()) == len(made) + 3


def test_numbers_are_short_and_steps_round() -> None:
    assert [short(x) for x in (7, 300, 1000, 2048, 1.5e6)] == ["7", "300", "1K", "2.05K", "1.5M"]
    assert [nice_step(x) for x in (4, 7, 600_000, 950)] == [1, 2, 200_000, 250]
