"""report.html: one file, no network, every value with its words, a badge on every figure."""

import base64
import gzip
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pytest
from made_up_run import SCENARIO_YAML, result

from kaiju_sim.metrics.result import RunResult
from kaiju_sim.metrics.stats.replications import joined
from kaiju_sim.report.glossary import METRICS
from kaiju_sim.report.html import render
from kaiju_sim.report.html.render import _fleet_figures
from kaiju_sim.report.html.series import fleet_series, latency_cdf, load_heat
from kaiju_sim.report.rundir import read_run, write_run


class Page(HTMLParser):
    """Tags with their attributes, and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.inside: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = (dict(attrs).get("id") or "code") if tag == "script" else None

    def handle_endtag(self, tag: str) -> None:
        self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside is not None:
            self.scripts[self.inside] = self.scripts.get(self.inside, "") + data


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("run") / "a"
    write_run(result(), SCENARIO_YAML, {"seed": 7}, path, report=True)
    return (path / "report.html").read_text()


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def figures(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(page.scripts["figures"])
    return found


def test_nothing_is_loaded_from_the_network(page: Page, text: str) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "img", "object", "embed", "base"}
        assert not {"src", "href", "srcset", "action"} & set(attributes), (tag, attributes)
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in re.sub(r'id="plotly">[^<]*', "", text).replace("http-equiv", "")
    policies = [a["content"] or "" for t, a in page.tags if a.get("http-equiv")]
    assert policies[0].startswith("default-src 'none';")


def test_plotly_is_inside_once(page: Page, text: str) -> None:
    script = gzip.decompress(base64.b64decode(page.scripts["plotly"])).decode()
    assert "plotly.js v" in script[:300]
    assert text.count('id="plotly"') == 1
    assert len(text) < 3_000_000


def test_the_answer_comes_first(text: str) -> None:
    heading = re.search(r"<h1>(.*?)</h1>", text)
    assert heading is not None
    assert heading[1] == (
        "8 × H100-80GB (8 replicas × 1) serves 904 messages/s at 0.00000578 USD per message."
    )
    assert '<span class="badge stable">stable</span>' in text
    assert '<span class="badge source">source: roofline</span>' in text


def test_every_figure_is_sound_and_says_where_its_step_times_come_from(page: Page) -> None:
    drawn = figures(page)
    places = [a["id"] for _, a in page.tags if (a.get("id") or "").startswith("chart-")]
    assert places == [f"chart-{place}" for place in range(len(drawn))]
    for figure in drawn:
        go.Figure(figure)
        assert "source: roofline" in [a["text"] for a in figure["layout"]["annotations"]]


def test_every_value_stands_there_with_its_definition(text: str) -> None:
    made = result().summary
    for metric in METRICS:
        if metric.key in made:
            assert f"<code>{metric.key}</code>" in text


def test_what_users_wrote_cannot_become_markup(text: str, tmp_path: Path) -> None:
    assert "version 2 &lt;b&gt;&amp;" in text
    evil = "name: '</script><script>alert(1)</script>'\n"
    made = result(profile__source="</script><b>", verdict="<i>")
    write_run(made, evil, {}, tmp_path / "a")
    hostile = Page(render(read_run(tmp_path / "a")))
    assert set(hostile.scripts) == {"figures", "plotly", "code"}
    assert "i" not in {tag for tag, _ in hostile.tags}
    assert "alert" not in "".join(hostile.scripts.values()).split("const figures")[-1]


def test_unknown_keys_and_broken_yaml_are_shown_too(tmp_path: Path) -> None:
    write_run(result(new__key=3.5), "name: [", {"seed": 1}, tmp_path / "a")
    shown = render(read_run(tmp_path / "a"))
    assert "<code>new.key</code>" in shown
    assert "run, seed 1" in shown


def test_the_fleet_series_adds_up() -> None:
    made = result()
    series = fleet_series(made.replicas, max_points=50)
    assert series.time_s.size == 50
    assert series.time_s[-1] == 1200
    assert series.tick_s.sum() == 1200
    for column in ("arrived", "completed", "busy_s"):
        total = np.sum(made.replicas[column].to_numpy())
        assert series.totals[column].sum() == pytest.approx(total)
    assert np.all(series.replicas == 8)
    assert np.all((series.busy() > 0) & (series.busy() <= 1))


def test_a_hit_rate_without_prompts_is_a_gap() -> None:
    made = result(ticks=2)
    none = np.zeros(16, dtype=np.int64)
    at = made.replicas.column_names.index("prompt_tokens")
    idle = made.replicas.set_column(at, "prompt_tokens", [none])
    assert np.all(np.isnan(fleet_series(idle).ratio("cached_tokens", "prompt_tokens")))


def test_the_heat_map_averages_replicas_and_ticks() -> None:
    heat = load_heat(result().replicas, max_points=30, max_rows=4)
    assert heat.values.shape == (4, 30)
    assert heat.replica == ["0/0", "0/2", "0/4", "0/6"]


def test_the_cdf_is_over_the_cohort_and_stops_short_of_what_never_arrived() -> None:
    made = result()
    values, fraction, cohort, lost = latency_cdf(made.requests, "e2e_s")
    measured = made.requests.filter(made.requests["measured"])
    assert cohort == measured.num_rows
    assert lost == measured["e2e_s"].null_count > 0
    assert fraction[-1] == pytest.approx(1 - lost / cohort)
    assert np.all(np.diff(values) >= 0)
    assert np.all(np.diff(fraction) > 0)


def test_answers_of_one_token_have_no_time_per_token() -> None:
    made = result()
    _, _, cohort, lost = latency_cdf(made.requests, "tpot_s")
    measured = made.requests.filter(made.requests["measured"])
    unfinished = np.sum(measured["status"].to_numpy(zero_copy_only=False) != "completed")
    assert lost == unfinished
    assert cohort < measured.num_rows


def test_a_cohort_that_never_got_there_has_an_empty_curve() -> None:
    made = result(messages=10)
    at = made.requests.column_names.index("ttft_s")
    lost = made.requests.set_column(at, "ttft_s", pa.nulls(10, pa.float64()))
    values, _, cohort, missing = latency_cdf(lost, "ttft_s")
    assert values.size == 0
    assert cohort == missing > 0


def test_what_has_to_be_known_first_stands_at_the_top(tmp_path: Path) -> None:
    made = result(run__steady_state="not settled", run__replications=4)
    intervals = {"ttft_s.p50": {"half_width": 0.0123}}
    run = write_run(replace(made, intervals=intervals), SCENARIO_YAML, {}, tmp_path / "a")
    top = render(read_run(run)).partition("</header>")[0]
    assert "warning</span> Measured from" in top
    assert "Means of 4 replications" in top
    assert "180 ±12 ms" in render(read_run(run))
    assert "warning" not in render(read_run(write_run(result(), "x: 1", {}, tmp_path / "b")))


def test_charts_over_time_are_of_one_replication(tmp_path: Path) -> None:
    """Two replications drawn on top of each other would be a fleet of twice the size."""
    one = result()
    two = joined([one_share(one), one_share(one)], [1, 2])
    runs = [
        read_run(write_run(made, SCENARIO_YAML, {}, tmp_path / name))
        for made, name in ((one, "a"), (two, "b"))
    ]
    figures = [_fleet_figures(run, run.table("requests")) for run in runs]
    assert figures[0] == figures[1]
    assert len(figures[0]) == 9


def one_share(made: RunResult) -> RunResult:
    return replace(made, summary=made.summary | {"results.sample_share": 1.0})
