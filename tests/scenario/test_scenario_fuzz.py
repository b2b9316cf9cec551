"""Whatever a file or an option holds: a scenario, or one line; never a traceback, never slow."""

import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scenario_texts import VALID

from kaiju_sim.errors import UserError
from kaiju_sim.scenario.base import all_paths
from kaiju_sim.scenario.explain import flow
from kaiju_sim.scenario.loader import ROOT, load_scenario

LIMIT_S = 5.0
PATHS = list(all_paths(ROOT))
TOKENS = [
    *"[]{},:&*!|>-?#%@`'\"\n\t \\~<=",
    ": ",
    "- ",
    "\n  ",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "---\n",
    "...\n",
    "null",
    "true",
    "1e999",
    ".nan",
    "0x",
    "5min",
    "kind: ",
    "extends: ",
    "overrides: ",
    "\x85",
    "\u2028",
    "\ufeff",
    "é",
    *PATHS[:40],
]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def accepts(path: Path, sets: tuple[str, ...] = (), overrides: tuple[str, ...] = ()) -> bool:
    """Whether the file loads; it may fail in one way only, and in bounded time."""
    start = time.monotonic()
    try:
        loaded = load_scenario(path, overrides=overrides, sets=sets)
    except UserError as error:
        text = str(error)
        assert text.isprintable(), text
        assert len(text) < 800
        assert "Traceback" not in text
        assert text.startswith((str(path), "--set"))
        return False
    finally:
        assert time.monotonic() - start < LIMIT_S
    path.with_name("again.yaml").write_text(loaded.to_yaml(), encoding="utf-8")
    assert load_scenario(path.with_name("again.yaml")).scenario == loaded.scenario
    return True


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "f.yaml"


@settings(max_examples=300)
@given(
    st.one_of(
        st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace"))
    )
)
@example(b"a: " + b"[" * 5000)
@example(b"a: " + b"{a: " * 5000)
@example(b"- " * 5000)
@example(b"? " * 5000)
@example(b"!" * 40_000)
@example(b"&" * 40_000)
@example(b"'" * 40_000)
def test_any_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    accepts(path)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(TOKENS), max_size=40).map("".join))
def test_any_string_of_tokens(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    accepts(path)


@settings(max_examples=300)
@given(st.randoms(use_true_random=False), st.integers(min_value=1, max_value=4))
def test_any_mutation_of_a_valid_text(path: Path, rng: random.Random, times: int) -> None:
    text = VALID
    for _ in range(times):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice([0, 0, 1, 3, 10]))
        text = text[:start] + rng.choice(TOKENS) + text[end:]
    path.write_text(text, encoding="utf-8")
    accepts(path, overrides=("day",))


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    st.sampled_from(["5min", "-1s", "2GiB", "1 USD/h", "auto", "constant", "1e999s", "5 parsecs"]),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["kind", "mean", "value", "min", "x"]), inner, max_size=3),
    ),
    max_leaves=5,
)


@settings(max_examples=400)
@given(st.dictionaries(st.sampled_from(PATHS), VALUES, min_size=1, max_size=3))
def test_any_value_at_any_path(path: Path, changes: dict[str, Any]) -> None:
    path.write_text(VALID, encoding="utf-8")
    accepts(path, sets=tuple(f"{key}={flow(value)}" for key, value in changes.items()))


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_any_option(path: Path, option: str) -> None:
    path.write_text(VALID, encoding="utf-8")
    accepts(path, sets=(option, f"fleet.{option}", f"name={option}"))
