"""The month's bill as a tree: what it is for, and where the money for GPUs goes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kaiju_sim.report.format import MISSING, percent, rate, usd
from kaiju_sim.report.html import page
from kaiju_sim.report.money.words import BILL_LINES, Sheet

_NOTE = (
    "Prompts and answers share the GPUs' busy time by the convention of cost.input_share; idle is"
    " the rest of what is paid for. Each line is the sum of those below it."
)


@dataclass(frozen=True)
class Node:
    """An amount, what it is made of, and the parts that add up to it."""

    name: str
    usd_per_month: float
    made_of: str = ""
    parts: tuple["Node", ...] = ()


def cost_tree(sheet: Sheet, summary: Mapping[str, Any]) -> Node:
    """The whole bill, its lines, and the parts of the GPUs' one; lines of 0 are left out."""
    lines = {name: float(value) for name, value in sheet["bill_usd_per_month"].items()}
    total = lines.pop("total")
    parts = [_line(name, value, sheet, summary) for name, value in lines.items() if value]
    return Node("Whole bill", total, parts=tuple(sorted(parts, key=lambda p: -p.usd_per_month)))


def _line(name: str, value: float, sheet: Sheet, summary: Mapping[str, Any]) -> Node:
    if name != "gpu":
        return Node(BILL_LINES[name], value)
    kinds = [
        f"{rate(kind['gpus'])} × {kind['gpu']} at {usd(kind['usd_per_gpu_hour'])} USD/h"
        f" ({kind['source']})"
        for kind in sheet["gpus"]
    ]
    return Node(BILL_LINES[name], value, "; ".join(kinds), _uses(value, summary))


def _uses(value: float, summary: Mapping[str, Any]) -> tuple[Node, ...]:
    """Prompts, answers and idle time; nothing where the run does not say."""
    busy, share = summary.get("gpu_busy_fraction"), summary.get("cost.input_share")
    if busy is None or share is None:
        return ()
    return (
        Node("prompts", value * busy * share),
        Node("answers", value * busy * (1 - share)),
        Node("idle", value * (1 - busy)),
    )


def tree_table(sheet: Sheet, summary: Mapping[str, Any]) -> str:
    """The tree as a table, a level deeper a step to the right."""
    root = cost_tree(sheet, summary)
    per_message = summary.get("cost.full.usd_per_message")
    rows = [
        [
            "&emsp;" * depth + page.escape(node.name),
            page.escape(usd(node.usd_per_month)),
            page.escape(_of_message(node, root, per_message)),
            page.escape(percent(node.usd_per_month / root.usd_per_month)),
            page.escape(node.made_of),
        ]
        for depth, node in _flat(root)
    ]
    heads = ("", "USD/month", "USD/message", "of the bill", "made of")
    table = page.table(heads, rows, ("name", "number", "number", "number", ""))
    note = f'<p class="note">{page.escape(_NOTE)}</p>\n'
    return page.details("Cost tree", table + note, unfolded=True)


def _of_message(node: Node, root: Node, per_message: float | None) -> str:
    if per_message is None:
        return MISSING
    return usd(per_message * node.usd_per_month / root.usd_per_month)


def _flat(node: Node, depth: int = 0) -> Iterator[tuple[int, Node]]:
    yield depth, node
    for part in node.parts:
        yield from _flat(part, depth + 1)
