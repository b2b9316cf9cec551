"""Layers merge by stated laws, every value knows its origin, and what is written reads back."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenario_texts import VALID, Write

from kaiju_sim.errors import UserError
from kaiju_sim.scenario import explain
from kaiju_sim.scenario.loader import ROOT, Loaded, load_scenario
from kaiju_sim.scenario.parts.laws import ConstantTime, ExponentialTime, LognormalTime, Uniform
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.scenario.tree import Node, Origin, merged


def origin(loaded: Loaded, path: str) -> str:
    return loaded.origins[path].replace(f"{loaded.base_dir}{os.sep}", "")


def test_values_are_plain_si_numbers(write: Write) -> None:
    scenario = load_scenario(write()).scenario
    assert scenario.run.warm_up == 300
    assert scenario.kv.activation_reserve == 2 * 2**30
    assert scenario.economics.gpu_price == 2.35
    assert scenario.traffic.output_tokens == Uniform(kind="uniform", min=1, max=100)
    think = scenario.traffic.sessions.think
    assert think == LognormalTime(kind="lognormal", mean=48, sigma=0.5, max=600)


def test_defaults_are_those_of_the_schema(write: Write) -> None:
    text = "schema_version: 1\nname: n\ntraffic: {messages_per_s: 1}\n"
    plain = Scenario.model_validate(
        {"schema_version": 1, "name": "n", "traffic": {"messages_per_s": 1}}
    )
    assert load_scenario(write(text)).scenario == plain


def test_a_file_may_change_a_part_of_a_default_distribution(write: Write) -> None:
    text = (
        "schema_version: 1\nname: n\ntraffic: {messages_per_s: 1, sessions: {think: {mean: 9s}}}\n"
    )
    think = load_scenario(write(text)).scenario.traffic.sessions.think
    assert think == ExponentialTime(kind="exponential", mean=9)


def test_later_wins(write: Write) -> None:
    write(name="parent.yaml")
    child = write(
        "extends: parent.yaml\nname: child\nfleet: {replicas: 10}\n"
        "overrides:\n  day: {fleet: {replicas: 20}, run: {warm_up: 1min}}\n"
        "  many: {fleet: {replicas: 40}}\n"
    )
    assert load_scenario(child).scenario.fleet.replicas == 10
    loaded = load_scenario(
        child, overrides=["day", "many"], sets=["fleet.cells=4", "run.drain=1s", "run.drain=2s"]
    )
    scenario = loaded.scenario
    assert (scenario.name, scenario.fleet.replicas, scenario.fleet.cells) == ("child", 40, 4)
    assert (scenario.run.horizon, scenario.run.warm_up, scenario.run.drain) == (86400, 60, 2)
    assert load_scenario(child, overrides=["many", "day"]).scenario.fleet.replicas == 20
    assert origin(loaded, "name") == "s.yaml:2"
    assert origin(loaded, "traffic.messages_per_s") == "parent.yaml:5"
    assert origin(loaded, "fleet.replicas") == "override many (s.yaml:6)"
    assert origin(loaded, "run.horizon") == "override day (parent.yaml:23)"
    assert origin(loaded, "fleet.cells") == "--set"
    assert origin(loaded, "engine.max_seqs") == "default"


def test_set_wins_over_overrides_and_may_unset(write: Write) -> None:
    sets = [
        "run.horizon=2h",
        "kv.activation_reserve=auto",
        "slo={ttft: 1s}",
        "traffic.diurnal=null",
    ]
    loaded = load_scenario(write(), overrides=["day"], sets=sets)
    assert loaded.scenario.run.horizon == 7200
    assert loaded.scenario.kv.activation_reserve == "auto"
    assert loaded.scenario.slo.ttft == 1
    assert loaded.origins["traffic.diurnal"] == "--set"


def test_another_kind_replaces_the_distribution(write: Write) -> None:
    loaded = load_scenario(write(), overrides=["fixed"])
    assert loaded.scenario.traffic.sessions.think == ConstantTime(value=10)
    again = load_scenario(
        write(), overrides=["fixed"], sets=["traffic.sessions.think={kind: exponential, mean: 3s}"]
    )
    assert again.scenario.traffic.sessions.think == ExponentialTime(kind="exponential", mean=3)


def test_another_kind_of_traffic_keeps_what_was_stated(write: Write) -> None:
    traffic = load_scenario(write(), sets=["traffic.kind=poisson"]).scenario.traffic
    assert (traffic.kind, traffic.messages_per_s) == ("poisson", 100)


def test_sweep_is_data_with_dotted_paths(write: Write) -> None:
    path = write(new="sweep: {fleet.replicas: [4, 8], router.policy: [sticky]}\n")
    loaded = load_scenario(path, sets=["sweep.run.epoch=[1s, 2s]"])
    assert loaded.scenario.sweep == {
        "fleet.replicas": [4, 8],
        "router.policy": ["sticky"],
        "run.epoch": ["1s", "2s"],
    }
    assert loaded.origins["sweep.run.epoch"] == "--set"


def test_anchors_are_expanded(write: Write) -> None:
    path = write(old="max: 100\n", new="max: 100\nprompt: &p {limit: 4096}\n")
    text = path.read_text().replace("  fixed:\n", "  short: {prompt: *p}\n  fixed:\n")
    loaded = load_scenario(write(text), overrides=["short"])
    assert loaded.scenario.prompt.limit == 4096


def test_parents_in_other_folders_keep_their_files(write: Write, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "t.csv").write_text("")
    trace = "schema_version: 1\nname: p\ntraffic: {kind: replay, trace: {file: t.csv}}\n"
    write(trace, name="lib/parent.yaml")
    child = load_scenario(write("extends: lib/parent.yaml\n"))
    assert child.scenario.traffic.trace is not None
    assert child.scenario.traffic.trace.file == "lib/t.csv"
    assert (child.base_dir / child.scenario.traffic.trace.file).is_file()


def test_a_file_given_as_an_option_is_found_from_where_the_user_is(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(name="sub/s.yaml")
    (tmp_path / "t.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    sets = ["traffic.kind=replay", "traffic.trace.file=t.csv"]
    loaded = load_scenario("sub/s.yaml", sets=sets)
    assert loaded.scenario.traffic.trace is not None
    assert loaded.scenario.traffic.trace.file == "../t.csv"
    assert path.is_file()


def test_crlf_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + VALID.replace("\n", "\r\n").encode())
    assert load_scenario(path).scenario.name == "small"


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("overrides", [[], ["day"], ["day", "fixed"]])
def test_the_resolved_file_loads_to_the_same_scenario(write: Write, overrides: list[str]) -> None:
    sets = ["sweep.fleet.replicas=[1, {a: 'b: c'}]", 'description="a\\nb #c: \\"d\\" \\x7f é"']
    loaded = load_scenario(write(), overrides=overrides, sets=sets)
    again = load_scenario(write(loaded.to_yaml(), name="resolved.yaml"))
    assert again.scenario == loaded.scenario
    assert again.to_yaml() == loaded.to_yaml()
    assert "warm_up: 5min" in loaded.to_yaml()
    assert "gpu_price: 2.35 USD/h" in loaded.to_yaml()


@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    warm_up=st.floats(min_value=0, max_value=1e3),
    rate=st.floats(min_value=1e-300, max_value=1e6, exclude_min=True),
    count=st.integers(min_value=0, max_value=2**62),
)
def test_any_value_survives_writing(
    tmp_path_factory: pytest.TempPathFactory, text: str, warm_up: float, rate: float, count: int
) -> None:
    base = {"schema_version": 1, "name": text, "traffic": {"messages_per_s": rate}}
    scenario = Scenario.model_validate(
        {**base, "run": {"warm_up": warm_up}, "kv": {"activation_reserve": count}}
    )
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(explain.to_yaml(scenario.model_dump(mode="json")), encoding="utf-8")
    assert load_scenario(path).scenario == scenario


def test_explain_shows_every_value_with_its_origin(write: Write) -> None:
    loaded = load_scenario(write(), overrides=["day"], sets=["fleet.replicas=12"])
    rows = {row.path: row for row in explain.explain(loaded)}
    assert rows["fleet.replicas"] == ("fleet.replicas", 12, "--set")
    assert rows["run.epoch"] == ("run.epoch", "100ms", "default")
    assert set(rows) == set(loaded.origins)
    text = explain.render(loaded)
    lines = [line.replace(f"{loaded.base_dir}{os.sep}", "") for line in text.splitlines()]
    squeezed = [" ".join(line.split()) for line in lines]
    assert "replicas: 12 # --set" in squeezed
    assert "horizon: 1d # override day (s.yaml:23)" in squeezed
    assert "cells: 2 # s.yaml:15" in squeezed
    assert load_scenario(write(text, name="explained.yaml")).scenario == loaded.scenario


# --- laws of merging ------------------------------------------------------------------------------

KEYS = ["run", "fleet", "engine", "warm_up", "replicas", "a", "b"]
VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=3)),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
TREES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)


def as_node(value: object) -> Node:
    if isinstance(value, dict):
        value = {key: as_node(child) for key, child in value.items()}
    elif isinstance(value, list):
        value = [as_node(child) for child in value]
    return Node(value, Origin("f", 1))


@given(TREES, TREES, TREES)
def test_merging_is_associative_and_idempotent_and_the_later_wins(
    a: dict[str, object], b: dict[str, object], c: dict[str, object]
) -> None:
    x, y, z = as_node(a), as_node(b), as_node(c)
    left = merged(merged(x, y, ROOT), z, ROOT).plain()
    assert left == merged(x, merged(y, z, ROOT), ROOT).plain() or _replaces_twice(a, b, c)
    assert merged(x, x, ROOT).plain() == a
    assert merged(x, as_node({}), ROOT).plain() == a
    assert merged(as_node({}), x, ROOT).plain() == a
    for path, value in explain.leaves(b):
        if value != {}:
            node = merged(x, y, ROOT).at(path)
            assert node is not None
            assert node.plain() == value


def _replaces_twice(*trees: object) -> bool:
    """Whether a mapping follows something else that follows a mapping, at one path.

    There the order of merging shows: what stood between erases what was before it.
    """
    mappings = [isinstance(tree, dict) for tree in trees]
    if mappings == [True, False, True]:
        return True
    if not all(mappings):
        return False
    keys = {key for tree in trees for key in tree}  # type: ignore[attr-defined]
    shared = [key for key in keys if all(key in tree for tree in trees)]  # type: ignore[operator]
    return any(_replaces_twice(*(tree[key] for tree in trees)) for key in shared)  # type: ignore[index]


@pytest.mark.parametrize(
    ("sets", "overrides", "place"),
    [
        ([], [], "s.yaml:6: "),
        (["gpu=H300"], [], "--set: "),
        ([], ["other"], "override other (s.yaml:8): "),
    ],
)
def test_what_shows_when_parts_meet_is_located(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sets: list[str],
    overrides: list[str],
    place: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "schema_version: 1\nname: x\ntraffic:\n  kind: poisson\n  messages_per_s: 1\ngpu: H200\n"
    Path("s.yaml").write_text(text + "overrides:\n  other: {gpu: H400}\n")
    loaded = load_scenario("s.yaml", sets=sets, overrides=overrides)
    assert str(loaded.located(UserError("gpu: unknown name"))) == f"{place}gpu: unknown name"
    assert str(loaded.located(UserError("results.tick of 1 s"))) == "results.tick of 1 s"
    assert str(loaded.located(UserError("gpu: x", "t.csv", 3))) == "t.csv:3: gpu: x"
