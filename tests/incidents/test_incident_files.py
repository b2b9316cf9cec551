"""The incidents that ship load, fit the schema, and say what they cover."""

import re
from pathlib import Path

import jsonschema
import pytest
from incidents_runs import FOLDER
from ruamel.yaml import YAML

from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.scenario.parts.faults import FAULTS
from kaiju_sim.scenario.schema_json import json_schema

SHIPPED = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_incidents_load(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=../schema.json\n# Covers: ")
    assert re.search(r"^# Situation: ", text, re.MULTILINE)
    document = YAML(typ="safe", pure=True).load(text)
    jsonschema.Draft202012Validator(json_schema()).validate(document)
    for names in ([], *([name] for name in document.get("overrides", {}))):
        (incident,) = load_scenario(path, overrides=names).scenario.incidents
        assert incident.enabled


def test_every_kind_of_fault_ships() -> None:
    kinds = {load_scenario(path).scenario.incidents[0].fault.kind for path in SHIPPED}
    assert kinds == {part.model_fields["kind"].annotation.__args__[0] for part in FAULTS}
