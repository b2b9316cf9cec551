"""What a scenario may say about a fleet that changes, and how it is told that it may not."""

from pathlib import Path
from typing import Any

import pytest
from fleet_runs import from_yaml, scenario_of

from kaiju_sim.errors import UserError
from kaiju_sim.scenario.loader import load_scenario

HEAD = """
schema_version: 1
name: x
traffic: {kind: poisson, messages_per_s: 1}
fleet:
  replicas: 4
  cells: 2
"""
WRONG: dict[str, tuple[str, str]] = {
    "no count": ("changes: [{at: 1s, action: add_shards}]", "add_shards: give count"),
    "count and shards": (
        "changes: [{at: 1s, action: drain_shards, count: 1, shards: [0]}]",
        "drain_shards: give either count or shards",
    ),
    "no such shard": (
        "changes: [{at: 1s, action: drain_shards, shards: [2]}]",
        "fleet.changes: a cell has no shard 2",
    ),
    "nothing left": (
        "changes: [{at: 1s, action: drain_shards, count: 2}]",
        "at least one shard of each cell must remain",
    ),
    "half a shard": ("changes: [{at: 1s, action: scale, replicas: 5}]", "multiples of cells"),
    "too many": ("changes: [{at: 1s, action: add_shards, count: 4000}]", "more than 4000"),
    "unknown key": (
        "changes: [{at: 1s, action: lose_table, when: 3}]",
        "unknown key fleet.changes[0].when",
    ),
    "no unit": ("changes: [{at: 1, action: lose_table}]", "fleet.changes[0].at"),
    "unknown action": ("changes: [{at: 1s, action: add_shard}]", "add_shards"),
    "no target": ("autoscale: {min: 2, max: 4}", "give fleet.autoscale.target"),
    "no schedule": ("autoscale: {policy: schedule, min: 2, max: 4}", "fleet.autoscale.schedule"),
    "min over max": ("autoscale: {target: 1, min: 4, max: 2}", "min must not exceed"),
    "start outside": ("autoscale: {target: 1, min: 6, max: 8}", "must lie between min and max"),
    "two masters": (
        "autoscale: {target: 1, min: 2, max: 8}\n  changes: [{at: 1s, action: scale, replicas: 4}]",
        "both set the shards",
    ),
    "hours": (
        "autoscale: {policy: schedule, min: 2, max: 4,"
        " schedule: [{hour: 3, replicas: 2}, {hour: 1, replicas: 4}]}",
        "hours that increase",
    ),
    "groups do not add up": ("groups: [{replicas: 2}]", "must add up to fleet.replicas"),
    "groups of half a shard": ("groups: [{replicas: 1}, {replicas: 3}]", "multiples of cells"),
    "nobody to shadow": (
        "changes: [{at: 1s, action: add_shards, count: 1, warm: shadow}]\n"
        "router: {policy: least_loaded}",
        "only then is it known who will move",
    ),
    "no table": (
        "changes: [{at: 1s, action: lose_table}]\nrouter: {policy: sticky}",
        "only router.policy affinity has a table",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(tmp_path: Path, case: str) -> None:
    text, message = WRONG[case]
    with pytest.raises(UserError) as error:
        from_yaml(tmp_path, f"{HEAD}  {text}\n")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ([], 4),
        ([("add_shards", 2)], 8),
        ([("add_shards", 2), ("drain_shards", 3), ("add_shards", 1)], 8),
        ([("drain_shards", 1), ("add_shards", 1)], 4),
    ],
)
def test_arrays_are_as_large_as_the_fleet_ever_is(changes: list[Any], most: int) -> None:
    planned = [
        {"at": 10.0 - i, "action": action, "count": count}
        for i, (action, count) in enumerate(reversed(changes))
    ]
    fleet = {"replicas": 4, "cells": 2, "changes": planned}
    assert scenario_of({"fleet": fleet}).fleet.most_replicas == most


def test_the_elastic_scenario_says_what_it_says_it_does() -> None:
    path = Path(__file__).resolve().parents[2] / "scenarios" / "elastic.yaml"
    plain = load_scenario(path).scenario
    assert plain.fleet.autoscale is not None
    assert plain.fleet.autoscale.policy == "target"
    for name in ("schedule", "fixed", "shadow", "table-loss"):
        assert load_scenario(path, overrides=[name]).scenario != plain
