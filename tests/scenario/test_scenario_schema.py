"""What is generated from the schema is in sync with it, and says the same."""

import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML
from scenario_texts import VALID, Write

from kaiju_sim.cli.schema import schema
from kaiju_sim.errors import UserError
from kaiju_sim.scenario.base import all_paths, fields_of, parts_of
from kaiju_sim.scenario.loader import ROOT, load_scenario
from kaiju_sim.scenario.schema_json import json_schema, json_schema_text, reference
from kaiju_sim.scenario.tree import dotted

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = sorted((REPOSITORY / "scenarios").glob("*.yaml"))


def check(text: str) -> list[str]:
    """The paths that the JSON schema refuses in a YAML text."""
    validator = jsonschema.Draft202012Validator(json_schema())
    document = YAML(typ="safe", pure=True).load(text)
    return [dotted(list(error.absolute_path)) for error in validator.iter_errors(document)]


def test_the_schema_file_is_in_sync() -> None:
    shipped = (REPOSITORY / "scenarios" / "schema.json").read_text(encoding="utf-8")
    assert shipped == json_schema_text(), "run: kaiju-sim schema -o scenarios/schema.json"


def test_the_reference_is_in_sync() -> None:
    shipped = (REPOSITORY / "docs" / "scenario.md").read_text(encoding="utf-8")
    assert shipped == reference(), "run: kaiju-sim schema --docs -o docs/scenario.md"


def test_the_command_prints_or_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema(output=None, docs=False)
    assert capsys.readouterr().out == json_schema_text()
    schema(output=tmp_path / "scenario.md", docs=True)
    assert (tmp_path / "scenario.md").read_text(encoding="utf-8") == reference()
    with pytest.raises(UserError, match="cannot be written"):
        schema(output=tmp_path, docs=False)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_scenarios_load_and_fit_the_schema(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.match(r"# yaml-language-server: \$schema=(\./)?schema\.json\n", text)
    assert check(text) == []
    assert load_scenario(path).scenario.name
    document = YAML(typ="safe", pure=True).load(text)
    for name in document.get("overrides", {}):
        load_scenario(path, overrides=[name])


def test_the_schema_accepts_what_the_loader_accepts(write: Write) -> None:
    assert check(VALID) == []
    assert check(load_scenario(write()).to_yaml()) == []
    assert check("extends: a.yaml\nfleet: {replicas: 3}\n") == []
    assert check("extends: a.yaml\ntraffic: {sessions: {think: {mean: 3s}}}\n") == []


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("replicas: 8", "replica: 8", "fleet"),
        ("replicas: 8", "replicas: 0", "fleet.replicas"),
        ("warm_up: 5min", "warm_up: 300", "run.warm_up"),
        ("warm_up: 5min", "warm_up: 5 parsecs", "run.warm_up"),
        ("2GiB", "2", "kv.activation_reserve"),
        ("mean: 48 s", "mean: 48", "traffic.sessions.think"),
        ("{horizon: 1d}", "{horizon: 1}", "overrides.day.run.horizon"),
        ("name: small\n", "", ""),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(
    write: Write, old: str, new: str, where: str
) -> None:
    text = VALID.replace(old, new, 1)
    assert where in check(text)
    with pytest.raises(UserError):
        load_scenario(write(text), overrides=["day"])


def test_every_key_is_documented() -> None:
    undocumented = [
        path for path in all_paths(ROOT) if path.split(".")[-1] != "kind" and not _description(path)
    ]
    assert undocumented == []


def _description(path: str) -> str | None:
    parts = ROOT
    *blocks, last = path.split(".")
    for key in blocks:
        parts = parts_of(fields_of(parts)[key].annotation)
    return fields_of(parts)[last].description


def test_every_key_is_in_the_reference() -> None:
    text = reference()
    assert all(f"| `{path.split('.')[-1]}` |" in text for path in all_paths(ROOT))


def test_loading_imports_little() -> None:
    code = (
        "import sys; import kaiju_sim.scenario.loader; "
        "heavy = {'numpy', 'numba', 'pyarrow', 'typer', 'rich', 'simpy', 'plotly'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout.strip() == "[]"
