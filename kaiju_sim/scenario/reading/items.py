"""Options that change a part of one item of a list: `incidents[0].fault.down=20s`.

Lists replace each other as a whole. Such an option therefore stands for the whole list as it is
without it, with every default in its place, and one item changed.
"""

import re
from typing import Any

from kaiju_sim.errors import UserError
from kaiju_sim.scenario.base import Parts, child_parts
from kaiju_sim.scenario.tree import Node, default_node, merged

_ITEM = re.compile(r"(.+)\[(\d+)\]")


def names_item(node: Node) -> bool:
    """Whether the path of an option goes through an item of a list."""
    while isinstance(node.value, dict) and len(node.value) == 1:
        ((key, node),) = node.value.items()
        if _ITEM.fullmatch(key):
            return True
    return False


def whole(node: Node, values: Any, parts: Parts) -> Node:
    """The same option as one of the whole list; *values* are the resolved ones without it."""
    ((key, child),) = node.value.items()
    found = _ITEM.fullmatch(key)
    name = found[1] if found else key
    inside, below = _value(values, name, node), child_parts(parts, name)
    if found is None:
        return Node({key: whole(child, inside, below)}, node.origin)
    number = int(found[2])
    if not isinstance(inside, list) or number >= len(inside):
        count = len(inside) if isinstance(inside, list) else 0
        plural = "s" if count != 1 else ""
        raise UserError(f"{node.origin.via}: {name} has {count} item{plural}, counted from 0")
    items = [default_node(item) for item in inside]
    items[number] = merged(items[number], child, below)
    return Node({name: Node(items, node.origin)}, node.origin)


def _value(values: Any, name: str, node: Node) -> Any:
    if not isinstance(values, dict) or name not in values:
        raise UserError(f"{node.origin.via}: unknown key {name}")
    return values[name]
