"""Hold the house style's sizes: functions, modules and packages, counted with `ast`.

A function's length is from its `def` to its last line, docstring included; methods and nested
functions count too. A GPU kernel (`@triton.jit`, `@gluon.jit`) has a limit of its own and is left
out of the quantiles: it is one straight line of code, and calls cost it readability. Tests are not
measured. Prints one line of figures, and one line for each
thing that is too large; exit code 1 if there is any.
"""

import ast
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ("kaiju_sim", "kernels", "calibrate", "app", "benchmarks", "scripts")

MEDIAN_LINES, P90_LINES, LONGEST_LINES = 8, 25, 60
KERNEL_LINES = 100
KERNEL_MARKS = {"triton.jit", "gluon.jit"}
MODULE_LINES = 350
PACKAGE_MODULES = 10

LARGE_FOR_A_REASON: dict[str, str] = {}
"""Modules that may be longer than the rest, each with why: `"kaiju_sim/x.py": "reason"`."""


class Function(NamedTuple):
    """A function and its number of lines."""

    where: str
    lines: int
    is_kernel: bool


def is_kernel(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Is it compiled for a GPU?"""
    marks = (mark.func if isinstance(mark, ast.Call) else mark for mark in node.decorator_list)
    return any(ast.unparse(mark) in KERNEL_MARKS for mark in marks)


def functions(path: Path) -> Iterator[Function]:
    """Every function of a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield Function(f"{path}:{node.lineno}: {node.name}", lines, is_kernel(node))


def quantile(lengths: Sequence[int], fraction: float) -> int:
    """The smallest length that at least this fraction of all do not exceed (0 of none)."""
    ranked = sorted(lengths)
    return ranked[max(0, math.ceil(fraction * len(ranked)) - 1)] if ranked else 0


def long_functions(found: Sequence[Function]) -> Iterator[str]:
    """What is wrong with the functions, one by one and together."""
    for function in found:
        most = KERNEL_LINES if function.is_kernel else LONGEST_LINES
        if function.lines > most:
            yield f"{function.where}: {function.lines} lines, over {most}"
    lengths = [function.lines for function in found if not function.is_kernel]
    limits = (("median", 0.5, MEDIAN_LINES), ("90th percentile", 0.9, P90_LINES))
    for name, fraction, most in limits:
        if quantile(lengths, fraction) > most:
            yield f"functions: {name} {quantile(lengths, fraction)} lines, over {most}"


def large_modules(root: Path, paths: Sequence[Path]) -> Iterator[str]:
    """Modules with too many lines, and packages with too many modules."""
    for path in paths:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        excused = path.relative_to(root).as_posix() in LARGE_FOR_A_REASON
        if lines > MODULE_LINES and not excused:
            yield f"{path}: {lines} lines, over {MODULE_LINES}"
    packages = Counter(path.parent for path in paths if not path.name.startswith("__"))
    for package, modules in sorted(packages.items()):
        if modules > PACKAGE_MODULES:
            yield f"{package}: {modules} modules, over {PACKAGE_MODULES}"


def summary(paths: Sequence[Path], found: Sequence[Function]) -> str:
    """The figures of all code together, on one line."""
    lengths = [function.lines for function in found if not function.is_kernel]
    kernels = [function.lines for function in found if function.is_kernel]
    return (
        f"{len(paths)} modules, {len(lengths)} functions: median {quantile(lengths, 0.5)} lines, "
        f"90th percentile {quantile(lengths, 0.9)}, longest {max(lengths, default=0)}; "
        f"{len(kernels)} GPU kernels, longest {max(kernels, default=0)}"
    )


def main(root: Path = ROOT) -> int:
    """Measure the checkout at `root`; 1 if anything is too large."""
    paths = sorted(path for name in MEASURED for path in (root / name).rglob("*.py"))
    found = [function for path in paths for function in functions(path)]
    wrong = [*long_functions(found), *large_modules(root, paths)]
    sys.stdout.writelines(f"{line}\n" for line in (summary(paths, found), *wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT))
