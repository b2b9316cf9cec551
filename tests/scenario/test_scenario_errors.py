"""Every mistake is one line that says where, what, and what would be right."""

import os
import time
from pathlib import Path

import pytest
from scenario_texts import VALID, Write

from kaiju_sim.errors import UserError
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.scenario.reading.reader import MAX_FILE_BYTES

THINK = "{kind: lognormal, mean: 48 s, sigma: 0.5, max: 10min}"
TWENTY_FOUR = ", ".join(["1"] * 24)


def message(path: Path, **options: list[str]) -> str:
    """The error for a file, without its folder; checked to be a single printable line."""
    with pytest.raises(UserError) as caught:
        load_scenario(path, **options)
    text = str(caught.value)
    assert text.isprintable()
    return text.replace(f"{path.parent}{os.sep}", "")


VALUES = {
    "misspelt key": (
        "replicas: 8",
        "replica: 8",
        14,
        "unknown key fleet.replica; did you mean replicas? "
        "(allowed here: replicas, tensor_parallel, cells, shard_replicas, groups, changes, "
        "autoscale, provisioning_delay, load_delay, shadow_time, ramp_time)",
    ),
    "misspelt block": ("fleet:", "flet:", 13, "unknown key flet; did you mean fleet?"),
    "key of another block": (
        "fleet:",
        "token_budget: 9\nfleet:",
        13,
        "unknown key token_budget; did you mean engine.token_budget?",
    ),
    "misspelt mechanism": (
        "fleet:",
        "extend: a\nfleet:",
        13,
        "unknown key extend; did you mean extends?",
    ),
    "key of another kind": (
        THINK,
        "{kind: constant, value: 3s, sigma: 1}",
        8,
        "unknown key traffic.sessions.think.sigma (allowed here: kind, value) for kind constant",
    ),
    "below the range": (
        "replicas: 8",
        "replicas: 0",
        14,
        "fleet.replicas must be at least 1, not 0",
    ),
    "above the range": (
        "replicas: 8",
        "replicas: 4001",
        14,
        "fleet.replicas must be at most 4_000, not 4001",
    ),
    "number in quotes": (
        "replicas: 8",
        "replicas: '8'",
        14,
        "fleet.replicas must be a whole number, not '8'",
    ),
    "not whole": (
        "replicas: 8",
        "replicas: 8.5",
        14,
        "fleet.replicas must be a whole number, not 8.5",
    ),
    "boolean for a number": (
        "replicas: 8",
        "replicas: true",
        14,
        "fleet.replicas must be a whole number, not true",
    ),
    "empty value": (
        "replicas: 8",
        "replicas:",
        14,
        "fleet.replicas must be a whole number, not empty",
    ),
    "list for a number": (
        "replicas: 8",
        "replicas: [8]",
        14,
        "fleet.replicas must be a whole number, not a list of 1",
    ),
    "mapping for a number": (
        "replicas: 8",
        "replicas: {a: 8}",
        14,
        "fleet.replicas must be a whole number, not a mapping",
    ),
    "number for a block": (
        "fleet:\n  replicas: 8\n  cells: 2\n",
        "fleet: 8\n",
        13,
        "fleet must be a mapping, not 8",
    ),
    "number for text": (
        "name: small",
        "name: 5",
        2,
        "name must be text (in quotes if it looks like a number), not 5",
    ),
    "empty text": ("name: small", "name: ''", 2, "name must be at least 1 characters long, not ''"),
    "word for a boolean": (
        "kv: {",
        "kv: {prefix_cache: on, ",
        19,
        "kv.prefix_cache must be true or false, not 'on'",
    ),
    "percent": (
        "kv: {",
        "kv: {memory_utilisation: 90, ",
        19,
        "kv.memory_utilisation must be at most 1, not 90",
    ),
    "unknown choice": (
        "fleet:",
        "router: {policy: stiky}\nfleet:",
        13,
        "router.policy must be one of 'affinity', 'sticky', 'rendezvous', 'prefix_aware', "
        "'least_loaded', 'round_robin' or 'power_of_two', not 'stiky'; did you mean sticky?",
    ),
    "a look inside an epoch": (
        "fleet:",
        "router: {policy: prefix_aware}\nresults: {tick: 250ms}\nfleet:",
        14,
        "results.tick must be a whole number of epochs (run.epoch, 0.1 s) with router.policy"
        " prefix_aware",
    ),
    "unknown kind": (
        "kind: lognormal",
        "kind: lognorml",
        8,
        "traffic.sessions.think.kind must be one of 'constant', 'lognormal', 'exponential', "
        "'uniform', 'quantiles', not 'lognorml'; did you mean lognormal?",
    ),
    "kind that is a list": (
        "kind: lognormal",
        "kind: [1]",
        8,
        "traffic.sessions.think.kind must be one of 'constant', 'lognormal', 'exponential', "
        "'uniform', 'quantiles', not a list of 1",
    ),
    "number for a distribution": (
        THINK,
        "48s",
        8,
        "traffic.sessions.think must be a mapping, not '48s'",
    ),
    "missing key of a kind": ("mean: 48 s, ", "", 8, "missing key traffic.sessions.think.mean"),
    "missing name": ("name: small\n", "", 1, "missing key name"),
    "wrong version": ("version: 1", "version: 2", 1, "schema_version must be 1, not 2"),
    "version true": (
        "version: 1",
        "version: true",
        1,
        "schema_version: true and false are not numbers",
    ),
    "no unit": (
        "warm_up: 5min",
        "warm_up: 300",
        17,
        "run.warm_up: 300 has no unit; write for example 500ms (units: ns, us, ms, s, min, h, d)"
        ", or 'auto'",
    ),
    "no unit, in quotes": (
        "warm_up: 5min",
        "warm_up: '300'",
        17,
        "run.warm_up: 300 has no unit; write for example 500ms (units: ns, us, ms, s, min, h, d)"
        ", or 'auto'",
    ),
    "unknown unit": (
        "warm_up: 5min",
        "warm_up: 5 parsecs",
        17,
        "run.warm_up: unknown unit 'parsecs' in '5 parsecs'; allowed: ns, us, ms, s, min, h, d"
        ", or 'auto'",
    ),
    "no quantity": (
        "warm_up: 5min",
        "warm_up: soon",
        17,
        "run.warm_up: 'soon' is not a quantity such as 500ms (units: ns, us, ms, s, min, h, d)"
        ", or 'auto'",
    ),
    "negative time": (
        "warm_up: 5min",
        "warm_up: -5min",
        17,
        "run.warm_up must be at least 0s or 'auto', not '-5min'",
    ),
    "time too long": (
        "horizon: 1h",
        "horizon: 1e300h",
        18,
        "run.horizon must be at most 1000000000s, not '1e300h'",
    ),
    "infinite time": (
        "horizon: 1h",
        "horizon: 1e999h",
        18,
        "run.horizon must be a finite number, not '1e999h'",
    ),
    "no unit in a distribution of times": (
        "48 s",
        "48",
        8,
        "traffic.sessions.think.mean: 48 has no unit; write for example 500ms "
        "(units: ns, us, ms, s, min, h, d)",
    ),
    "unit in a distribution of counts": (
        "min: 1",
        "min: 1s",
        11,
        "traffic.output_tokens.min must be a number (without a unit or quotes), not '1s'",
    ),
    "half a byte": (
        "2GiB",
        "1.5B",
        19,
        "kv.activation_reserve: '1.5B' is not a whole number of bytes, or 'auto'",
    ),
    "size without a unit": (
        "2GiB",
        "2",
        19,
        "kv.activation_reserve: 2 has no unit; write for example 80GiB "
        "(units: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB), or 'auto'",
    ),
    "other currency": (
        "2.35 USD/h",
        "2.35 EUR/h",
        20,
        "economics.gpu_price: unknown unit 'EUR/h' in '2.35 EUR/h'; allowed: USD/h, or 'catalog'",
    ),
    "neither number nor word": (
        "kv: {",
        "kv: {global_blocks: 0, ",
        19,
        "kv.global_blocks must be at least 1 or 'auto', not 0",
    ),
    "list too short": (
        "  kind: sessions",
        "  diurnal: {shape: [1, 2]}",
        4,
        "traffic.diurnal.shape must be at least 24 values long, not a list of 2",
    ),
    "word in a list": (
        "  kind: sessions",
        f"  diurnal: {{shape: [{TWENTY_FOUR[:-1]}x]}}",
        4,
        "traffic.diurnal.shape[23] must be a number (without a unit or quotes), not 'x'",
    ),
    "flat day of nothing": (
        "  kind: sessions",
        f"  diurnal: {{shape: [{TWENTY_FOUR.replace('1', '0')}]}}",
        4,
        "traffic.diurnal.shape needs rates of 0 or more, not all 0",
    ),
    "minimum above maximum": (
        "    max: 100",
        "    max: 0.5",
        9,
        "traffic.output_tokens: a uniform needs min <= max",
    ),
    "quantiles going down": (
        THINK,
        "{kind: quantiles, values: [3s, 1s]}",
        8,
        "traffic.sessions.think: quantiles need values that start at 0 or more and do not decrease",
    ),
    "block that contradicts itself": (
        "warm_up: 5min",
        "warm_up: 2h",
        16,
        "run.warm_up must be before run.horizon",
    ),
    "indivisible": (
        "replicas: 8",
        "replicas: 7",
        13,
        "fleet.replicas must be a multiple of cells x shard_replicas",
    ),
    "replay without a trace": (
        "kind: sessions",
        "kind: replay",
        3,
        "traffic.kind is replay: give traffic.trace",
    ),
    "no prompt left": (
        "fleet:",
        "prompt: {limit: 10, date_tokens: 10}\nfleet:",
        13,
        "prompt.limit must exceed prompt.date_tokens + prompt.persona_tokens",
    ),
    "sweep that leads nowhere": (
        "fleet:",
        "sweep: {fleet.replica: [1]}\nfleet:",
        13,
        "sweep: no such path 'fleet.replica'; did you mean fleet.replicas?",
    ),
    "sweep without a list": (
        "fleet:",
        "sweep: {fleet.replicas: 1}\nfleet:",
        13,
        "sweep.fleet.replicas must be a list, not 1",
    ),
    "several": (
        "replicas: 8\n  cells: 2",
        "replicas: 0\n  cells: 0",
        14,
        "fleet.replicas must be at least 1, not 0 (and 1 more error)",
    ),
    "unknown key in an override that is not chosen": (
        "{horizon: 1d}",
        "{horizn: 1d}",
        23,
        "unknown key run.horizn; did you mean horizon? "
        "(allowed here: warm_up, horizon, drain, epoch, start)",
    ),
    "override that is no mapping": (
        "    run: {horizon: 1d}",
        "    3",
        22,
        "overrides.day must be a mapping",
    ),
    "missing parent": ("fleet:", "extends: no.yaml\nfleet:", 13, "extends: no such file: no.yaml"),
    "two parents": (
        "fleet:",
        "extends: [a, b]\nfleet:",
        13,
        "extends must be the path of one scenario file",
    ),
    "its own parent": ("fleet:", "extends: s.yaml\nfleet:", 13, "extends: s.yaml extends itself"),
}


@pytest.mark.parametrize(("old", "new", "line", "expected"), VALUES.values(), ids=VALUES)
def test_a_wrong_value_names_line_path_and_remedy(
    write: Write, old: str, new: str, line: int, expected: str
) -> None:
    assert message(write(old=old, new=new)) == f"s.yaml:{line}: {expected}"


TEXTS = {
    "empty": ("", 1, "empty"),
    "only a comment": ("# nothing\n", 1, "empty"),
    "a list": ("- a\n", 1, "a scenario is a mapping of keys, not a list"),
    "a word": ("\nword\n", 2, "a scenario is a mapping of keys, not a single value"),
    "duplicate key": ("name: a\nseed: 1\nname: b\n", 3, "duplicate key 'name' (first on line 1)"),
    "two documents": ("a: 1\n---\nb: 1\n", 2, "a second document: a scenario is one YAML document"),
    "python tag": (
        "a: !!python/object/apply:os.system [ls]\n",
        1,
        "YAML tags such as 'tag:yaml.org,2002:python/object/apply:os.system' are not supported",
    ),
    "other tag": ("a: !x 1\n", 1, "YAML tags such as '!x' are not supported"),
    "directive": ("%YAML 1.1\n---\na: 1\n", 2, "YAML directives are not supported"),
    "merge key": ("<<: {a: 1}\n", 1, "merge keys (<<) are not supported; use extends or overrides"),
    "tab": ("a:\n\tb: 1\n", 2, "not valid YAML: a tab; indent with spaces"),
    "number as key": ("1: a\n", 1, "a key must be a name, not 1"),
    "null as key": ("~: a\n", 1, "a key must be a name, not None"),
    "list as key": ("[1]: a\n", 1, "a key must be a name"),
    "mapping as key": ("? {a: 1}\n: b\n", 1, "a key must be a name"),
    "unknown alias": ("a: *x\n", 1, "alias *x has no anchor before it"),
    "alias of itself": ("a: &x [*x]\n", 1, "alias *x has no anchor before it"),
    "not a number": ("a: .nan\n", 1, ".nan is not a finite number"),
    "infinity": ("a: -.inf\n", 1, "-.inf is not a finite number"),
    "overflow": ("a: 1e400\n", 1, "number out of range: '1e400'"),
    "huge integer": ("a: 99999999999999999999\n", 1, "number out of range: '99999999999999999999'"),
    "endless integer": (f"a: {'9' * 9999}\n", 1, f"number out of range: '{'9' * 56}..."),
    "NUL": ("a: 1\nb: \0\n", 2, "a control character: not a scenario"),
    "half a surrogate": ('a: "\\ud800"\n', 1, "half of a surrogate pair: not text"),
    "code point out of range": (
        'a: "\\Uffffffff"\n',
        1,
        "not valid YAML: Python int too large to convert to C int",
    ),
    "long line": ("a: 1\nb: " + "x" * 60_000, 2, "a very long line: not a scenario"),
    "unclosed": (
        "a: [1\n",
        2,
        "not valid YAML: expected ',' or ']', but got '<stream end>' "
        "(while parsing a flow sequence)",
    ),
    "colon in a value": (
        "a: b: c\n",
        1,
        "not valid YAML: mapping values are not allowed here",
    ),
    "too deep": ("a: " + "[" * 60, 1, "nested deeper than 50 levels"),
    "too deep in a block": ("- " * 60, 1, "nested deeper than 50 levels"),
    "too much": ("a:\n" + "- 1\n" * 20_000, 20_001, "more than 20000 values (aliases expanded)"),
    "overrides that are a list": (
        "overrides: [a]\n",
        1,
        "overrides must be a mapping of names to blocks",
    ),
}


@pytest.mark.parametrize(("text", "line", "expected"), TEXTS.values(), ids=TEXTS)
def test_text_that_is_no_scenario_names_the_line(
    write: Write, text: str, line: int, expected: str
) -> None:
    assert message(write(text)) == f"s.yaml:{line}: {expected}"


def test_laughs_by_the_billion_end_early(write: Write) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for i in range(1, 12):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]")
    start = time.monotonic()
    expected = "s.yaml:5: more than 20000 values (aliases expanded)"
    assert message(write("\n".join(lines))) == expected
    assert time.monotonic() - start < 2


def test_aliases_may_nest_no_deeper_than_text(write: Write) -> None:
    lines = ["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 60))]
    assert message(write("\n".join(lines))) == "s.yaml:50: nested deeper than 50 levels"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert message(tmp_path / "no.yaml") == "no.yaml: no such file"
    (tmp_path / "d.yaml").mkdir()
    assert message(tmp_path / "d.yaml") == "d.yaml: is a directory"
    os.mkfifo(tmp_path / "f.yaml")
    assert message(tmp_path / "f.yaml") == "f.yaml: not a regular file"
    (tmp_path / "u.yaml").write_bytes(b"a: 1\nb: \xff\n")
    assert message(tmp_path / "u.yaml") == "u.yaml:2: not UTF-8 text"
    (tmp_path / "big.yaml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    assert message(tmp_path / "big.yaml") == "big.yaml: larger than 1024 KiB: not a scenario"
    assert message(tmp_path / "a\0b") == "a\\x00b: no such file"


def test_a_file_without_permission(write: Write) -> None:
    path = write()
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read anything")
    assert message(path) == "s.yaml: cannot be read: Permission denied"


def test_an_error_in_a_parent_is_reported_there(write: Write) -> None:
    write(VALID, "replicas: 8", "replica: 8", name="parent.yaml")
    child = write("extends: parent.yaml\nname: child\n")
    assert message(child).startswith("parent.yaml:14: unknown key fleet.replica;")


def test_circles_and_long_chains_of_parents(write: Write) -> None:
    write("extends: b.yaml\n", name="a.yaml")
    assert message(write("\nextends: a.yaml\n", name="b.yaml")) == (
        "a.yaml:1: extends: b.yaml extends itself"
    )
    for i in range(12):
        path = write(f"extends: p{i - 1}.yaml\n" if i else VALID, name=f"p{i}.yaml")
    assert message(path) == "p1.yaml:1: extends: more than 10 parents"


SETS = {
    "no value": ("fleet.replicas", "write path=value, such as fleet.replicas=12"),
    "empty value": ("fleet.replicas=", "write path=value, such as fleet.replicas=12"),
    "no path": ("=3", "write path=value, such as fleet.replicas=12"),
    "wrong type": ("fleet.replicas=abc", "fleet.replicas must be a whole number, not 'abc'"),
    "no YAML": (
        "fleet.replicas=[",
        "not valid YAML: expected the node content, but found '<stream end>' "
        "(while parsing a flow node)",
    ),
    "unknown path": (
        "fleet.replica=1",
        "unknown key fleet.replica; did you mean replicas? "
        "(allowed here: replicas, tensor_parallel, cells, shard_replicas, groups, changes, "
        "autoscale, provisioning_delay, load_delay, shadow_time, ramp_time)",
    ),
    "mechanism": ("extends=a.yaml", "unknown key extends"),
    "below a value": (
        "fleet.replicas.x=1",
        "fleet.replicas must be a whole number, not a mapping",
    ),
    "against a rule": ("run.warm_up=2h", "run.warm_up must be before run.horizon"),
    "no unit": (
        "run.drain=5",
        "run.drain: 5 has no unit; write for example 500ms (units: ns, us, ms, s, min, h, d)",
    ),
    "tag": ("name=!!str x", "YAML tags such as 'tag:yaml.org,2002:str' are not supported"),
}


@pytest.mark.parametrize(("option", "expected"), SETS.values(), ids=SETS)
def test_a_wrong_option_names_itself(write: Write, option: str, expected: str) -> None:
    assert message(write(), sets=[option]) == f"--set {option}: {expected}"


def test_an_unknown_override_lists_the_known_ones(write: Write) -> None:
    assert message(write(), overrides=["dya"]) == (
        "s.yaml: --with dya: no such override; did you mean day? (there is: day, fixed)"
    )
    bare = VALID[: VALID.index("overrides:")]
    assert message(write(bare), overrides=["x"]) == (
        "s.yaml: --with x: no such override (there is: none)"
    )


def test_an_error_in_a_chosen_override_is_on_its_line(write: Write) -> None:
    path = write(old="{horizon: 1d}", new="{horizon: 1}")
    load_scenario(path)
    assert message(path, overrides=["day"]).startswith("s.yaml:23: run.horizon: 1 has no unit")


def test_a_hostile_name_stays_on_one_line(write: Write, tmp_path: Path) -> None:
    path = write("a: 1\n", name="new\nline.yaml")
    assert message(path).startswith("new line.yaml:1: ")
    text = message(write(f'"{"k" * 5000}\\n\\e[31m": 1\n'))
    assert len(text) < 700
