"""The oracle boundary: policy is plain Python and cannot see what only the world knows."""

import ast
from pathlib import Path

import pytest

from kaiju_sim.engine import layout
from kaiju_sim.engine.layout import FATE, Engine, World

POLICY = Path(layout.__file__).parent / "policy"
MODULES = sorted(POLICY.rglob("*.py"))
SEEN = {
    name
    for dtype in (layout.REQUEST, layout.REPLICA, layout.CACHE, layout.NODE, layout.WINDOW)
    for name in dtype.names or ()
} | set(Engine._fields)
# Fields of the world's records that no record of the engine has, and the world itself.
HIDDEN = (
    (set(FATE.names or ()) | set(World._fields) | {"FATE", "TALLY", "World"}) - SEEN - {"engine"}
)


def mentioned(tree: ast.AST) -> set[str]:
    """Attributes, imported names and field names given as text."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.alias):
            names.add(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
        elif isinstance(node, ast.arg) and node.annotation is not None:
            names.add(ast.unparse(node.annotation))
    return names


def imported(tree: ast.AST) -> set[str]:
    """Modules that are imported, whole dotted names."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    return modules


def test_what_is_hidden_is_what_the_world_knows() -> None:
    assert {"out", "left", "due", "fates", "born", "first", "World", "FATE"} <= HIDDEN
    assert not HIDDEN & set(Engine._fields)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_policy_mentions_nothing_that_only_the_world_knows(module: Path) -> None:
    tree = ast.parse(module.read_text())
    assert not mentioned(tree) & HIDDEN


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_policy_imports_neither_numba_nor_the_loops(module: Path) -> None:
    modules = imported(ast.parse(module.read_text()))
    assert not {name for name in modules if name.split(".")[0] == "numba"}
    ours = {name for name in modules if name.startswith("kaiju_sim.")}
    assert all(
        name == "kaiju_sim.rng"
        or name == "kaiju_sim.engine.layout"
        or name == "kaiju_sim.steptime.curves"
        or name.startswith("kaiju_sim.engine.policy")
        for name in ours
    ), ours


@pytest.mark.parametrize(
    "code",
    [
        "def f(w: World): ...",
        "def f(e): return e.fates[0]",
        "def f(v): return v['left']",
        "def f(v): return v.due",
        "from kaiju_sim.engine.layout import FATE",
    ],
)
def test_the_check_sees_a_breach(code: str) -> None:
    assert mentioned(ast.parse(code)) & HIDDEN
