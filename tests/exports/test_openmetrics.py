"""OpenMetrics text: accepted by a strict parser, and it says what the tables say."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from made_up_run import SCENARIO_YAML, result

from kaiju_sim.errors import UserError
from kaiju_sim.exports import openmetrics as om
from kaiju_sim.report.rundir import RunDirectory, read_run, write_run

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\n"])*"'
SAMPLE = re.compile(
    rf"({NAME})\{{({LABEL}(?:,{LABEL})*)\}} (\d+(?:\.\d+)?(?:e-?\d+)?) (\d+\.\d{{3}})"
)
HEAD = re.compile(rf"# (TYPE|UNIT|HELP) ({NAME}) (.+)")
SUFFIXES = {"gauge": {""}, "counter": {"_total"}, "histogram": {"_bucket", "_count", "_sum"}}

Samples = dict[tuple[str, str], list[tuple[float, float]]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("run") / "evening"
    write_run(result(messages=300, ticks=6), SCENARIO_YAML, {"seed": 7}, folder)
    return read_run(folder)


def parsed(text: str) -> Samples:
    """Samples by name and labels; fails on whatever OpenMetrics 1.0 forbids in such a text."""
    assert text.endswith("# EOF\n")
    families: dict[str, str] = {}
    found: Samples = {}
    last = ""
    for line in text.removesuffix("# EOF\n").splitlines():
        if head := HEAD.fullmatch(line):
            what, name, rest = head.groups()
            if what == "TYPE":
                assert name not in families, "a family's samples stand together"
                families[name], family = rest, name
            assert name == family
            assert what != "UNIT" or name.endswith(f"_{rest}")
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        name, labels, value, at = sample.groups()
        assert name.startswith(family)
        assert name.removeprefix(family) in SUFFIXES[families[family]]
        mine = found.setdefault((name, labels), [])
        assert not mine or mine[-1][0] < float(at), "times rise"
        mine.append((float(at), float(value)))
        engine = re.sub(r',le="[^"]*"', "", family + labels)
        assert engine == last or len(mine) == 1, "an engine's samples stand together"
        last = engine
    return found


def test_the_text_keeps_to_the_format(run: RunDirectory) -> None:
    found = parsed("".join(om.openmetrics(run)))
    for (name, _), points in found.items():
        if not name.endswith(("running", "waiting", "perc")):
            values = [value for _, value in points]
            assert values == sorted(values), f"{name} never falls"


def test_prometheus_own_parser_accepts_each_scrape(run: RunDirectory) -> None:
    """One instant at a time: its check of histograms loses samples where there are several."""
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    lines = "".join(om.openmetrics(run)).splitlines(keepends=True)
    stamps = {line.split()[-1] for line in lines if not line.startswith("#")}
    assert len(stamps) > 3
    for at in stamps:
        text = "".join(x for x in lines if x.startswith("#") or x.split()[-1] == at)
        families = list(parser.text_string_to_metric_families(text))
        assert {family.type for family in families} == {"gauge", "counter", "histogram"}
        names = {family.name for family in families}
        assert {"vllm:num_requests_running", "vllm:prompt_tokens"} <= names


def test_samples_say_what_the_tables_say(run: RunDirectory) -> None:
    found = parsed("".join(om.openmetrics(run)))
    ticks = [row for row in run.table("replicas").to_pylist() if row["replica"] == 1]
    labels = 'engine="1",model_name="kaiju-13b"'
    running = [value for _, value in found["vllm:num_requests_running", labels]]
    assert running == [row["running"] + row["prefilling"] for row in ticks]
    tokens = found["vllm:generation_tokens_total", labels]
    assert tokens[0] == (0.0, 0.0)
    assert tokens[-1] == (ticks[-1]["time_s"], sum(row["output_tokens"] for row in ticks))
    usage = [value for _, value in found["vllm:kv_cache_usage_perc", labels]]
    assert usage == [row["kv_global_used"] / row["kv_global_blocks"] for row in ticks]


def test_histograms_count_what_had_happened_by_then(run: RunDirectory) -> None:
    found = parsed("".join(om.openmetrics(run)))
    labels = 'engine="1",model_name="kaiju-13b"'
    rows = [row for row in run.table("requests").to_pylist() if row["replica"] == 1]
    seen = [(r["arrival_s"] + r["ttft_s"], r["ttft_s"]) for r in rows if r["ttft_s"] is not None]
    assert seen
    name = "vllm:time_to_first_token_seconds"
    for at, count in found[f"{name}_count", labels]:
        assert count == sum(time <= at for time, _ in seen)
    for at, count in found[f"{name}_bucket", f'{labels},le="0.5"']:
        assert count == sum(time <= at and ttft <= 0.5 for time, ttft in seen)
    assert found[f"{name}_count", labels][-1][1] > 0


def test_gaps_are_counted_token_by_token(run: RunDirectory) -> None:
    found = parsed("".join(om.openmetrics(run)))
    rows = [row for row in run.table("requests").to_pylist() if row["tpot_s"] is not None]
    last = max(row["time_s"] for row in run.table("replicas").to_pylist())
    rows = [r for r in rows if r["replica"] is not None and r["arrival_s"] + r["e2e_s"] <= last]
    name = "vllm:inter_token_latency_seconds"
    count = sum(points[-1][1] for (n, _), points in found.items() if n == f"{name}_count")
    total = sum(points[-1][1] for (n, _), points in found.items() if n == f"{name}_sum")
    assert rows
    assert count == sum(row["output_tokens"] - 1 for row in rows)
    assert total == pytest.approx(sum(r["tpot_s"] * (r["output_tokens"] - 1) for r in rows))


def test_the_start_moves_the_stamps_and_scrapes_may_be_rarer(run: RunDirectory) -> None:
    ticks = np.unique(run.table("replicas")["time_s"].to_numpy())
    rare = parsed("".join(om.openmetrics(run, start_s=1.7e9, scrape_s=ticks[1])))
    labels = 'engine="0",model_name="kaiju-13b"'
    at = [round(time - 1.7e9, 3) for time, _ in rare["vllm:num_requests_waiting", labels]]
    assert at == [round(t, 3) for t in ticks[1::2]]


def test_a_sample_is_called_one(run: RunDirectory) -> None:
    part = replace(run, summary=run.summary | {"results.sample_share": 0.25})
    assert "Of a sample of 0.25 of the dialogues." in "".join(om.openmetrics(part))


def test_too_much_text_and_missing_replications_are_told(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no rows of replication 3"):
        om.openmetrics(run, replication=3)
    with pytest.raises(UserError, match="start"):
        om.openmetrics(run, start_s=-1.0)
    monkeypatch.setattr(om, "MOST_LINES", 10)
    with pytest.raises(UserError, match="--scrape 60s"):
        om.openmetrics(run)
