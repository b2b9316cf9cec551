"""What imports what, what an installation brings along, and how large things may grow."""

import importlib.util
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FOREIGN = ("torch", "triton", "streamlit", "ray")
HEAVY = ("numba", "numpy", "plotly", "pyarrow", "pydantic", "rich", "ruamel", "simpy", "typer")

BLOCK = "import sys; sys.modules.update(dict.fromkeys({names!r}))\n"
IMPORT_ALL = """
import importlib, pkgutil, kaiju_sim
for module in pkgutil.walk_packages(kaiju_sim.__path__, "kaiju_sim."):
    importlib.import_module(module.name)
"""
PLAIN_DATA_PLANE = """
import importlib, pkgutil
import kaiju_sim.engine.loop, kaiju_sim.engine.policy, kaiju_sim.fleet.cell
for module in pkgutil.iter_modules(kaiju_sim.engine.policy.__path__, "kaiju_sim.engine.policy."):
    importlib.import_module(module.name)
"""
HELP = "from kaiju_sim.cli import main; sys.exit(main(['--help']))"


def python(code: str) -> "subprocess.CompletedProcess[str]":
    """Run code in a fresh interpreter, warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_module_imports_without_gpu_or_web_stack_and_says_nothing() -> None:
    done = python(BLOCK.format(names=FOREIGN) + IMPORT_ALL)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_help_needs_no_gpu_or_web_stack() -> None:
    done = python(BLOCK.format(names=FOREIGN) + HELP)
    assert done.returncode == 0, done.stderr
    assert "Usage: kaiju-sim" in done.stdout


def test_the_kernels_are_ours() -> None:
    """There are other packages of this name: from the checkout's root, ours comes first."""
    kernels = importlib.util.find_spec("kernels")
    assert kernels is not None
    assert kernels.origin == str(ROOT / "kernels" / "__init__.py")


def test_policies_and_the_loop_are_plain_python() -> None:
    done = python(BLOCK.format(names=("numba", "llvmlite")) + PLAIN_DATA_PLANE)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, kaiju_sim; sys.exit(' '.join(set({HEAVY!r}) & set(sys.modules)))"
    done = python(code)
    assert done.stderr.strip() == ""


def plainly_required(name: str) -> set[str]:
    """What a distribution itself requires here, extras left out."""
    requirements = [Requirement(line) for line in metadata.requires(name) or ()]
    wanted = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return {canonicalize_name(requirement.name) for requirement in wanted}


def test_installing_the_simulator_brings_no_gpu_or_web_stack() -> None:
    brought: set[str] = set()
    waiting = {"kaiju-fleet-planner"}
    while waiting:
        needed = plainly_required(waiting.pop())
        waiting |= needed - brought
        brought |= needed
    assert {"numba", "simpy"} <= brought
    assert not brought & set(FOREIGN)


def test_import_contracts_hold() -> None:
    pytest.importorskip("importlinter")
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--config", ".importlinter", "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("lines", "mark", "modules", "complaint"),
    [
        (60, "", 10, None),
        (61, "", 10, "f: 61 lines, over 60"),
        (60, "", 11, "p: 11 modules, over 10"),
        (100, "@triton.jit\n", 10, None),
        (101, "@triton.jit\n", 10, "f: 101 lines, over 100"),
        (101, "@gluon.jit(noinline=True)\n", 10, "f: 101 lines, over 100"),
        (61, "@numba.jit\n", 10, "f: 61 lines, over 60"),
    ],
)
def test_what_grows_too_large_is_reported(
    tmp_path: Path, lines: int, mark: str, modules: int, complaint: str | None
) -> None:
    package = tmp_path / "kernels" / "p"
    package.mkdir(parents=True)
    short = "".join(f"def g{i}() -> int:\n    return {i}\n" for i in range(20))
    long = mark + "def f() -> None:\n" + "    pass\n" * (lines - 1)
    for number in range(modules):
        (package / f"m{number}.py").write_text(short if number else short + long)
    command = [sys.executable, str(ROOT / "scripts" / "style_sizes.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if complaint is None else 1)
    assert complaint is None or complaint in done.stdout
