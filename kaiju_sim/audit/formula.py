"""Formulas as text: what the table prints is what is computed.

A formula is an arithmetic expression over named inputs, numbers, texts in quotes and the functions
of `functions.py`. It is parsed once, and anything else in it is a ValueError: no attribute, no
index, no name that is not an input.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from kaiju_sim.audit.functions import FUNCTIONS

Value = float | str
"""What inputs are and what formulas give: a number, or a text to compare."""

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


@dataclass(frozen=True)
class Formula:
    """A parsed expression."""

    text: str
    """As it is written."""
    names: tuple[str, ...]
    """Inputs that it uses, in order of appearance."""
    tree: ast.expr

    def value(self, inputs: Mapping[str, Value]) -> Value:
        """What it comes to with these inputs; KeyError for one that is missing."""
        return _value(self.tree, inputs)


@cache
def parsed(text: str) -> Formula:
    """The formula that *text* states; ValueError for what is none."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"not a formula: {text}") from error
    names: list[str] = []
    _check(tree, text, names)
    return Formula(text, tuple(dict.fromkeys(names)), tree)


def _check(node: ast.expr, text: str, names: list[str]) -> None:
    """Collect the inputs below *node*; ValueError for what a formula may not hold."""
    if isinstance(node, ast.Name):
        names.append(node.id)
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        _check(node.left, text, names)
        _check(node.right, text, names)
    elif isinstance(node, ast.Call) and _called(node) in FUNCTIONS and not node.keywords:
        for argument in node.args:
            _check(argument, text, names)
    elif not (isinstance(node, ast.Constant) and type(node.value) in (int, float, str)):
        raise ValueError(f"not allowed in a formula: {ast.unparse(node)} (in {text})")


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _value(node: ast.expr, inputs: Mapping[str, Value]) -> Value:
    if isinstance(node, ast.Name):
        return inputs[node.id]
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else _number(node.value)
    if isinstance(node, ast.Call):
        called: Value = FUNCTIONS[_called(node)](*(_value(a, inputs) for a in node.args))
        return called
    assert isinstance(node, ast.BinOp)
    left, right = _number(_value(node.left, inputs)), _number(_value(node.right, inputs))
    return _OPERATORS[type(node.op)](left, right)


def _number(value: object) -> float:
    if isinstance(value, int | float):
        return float(value)
    raise ValueError(f"a formula reckons with numbers, not with {value!r}")
