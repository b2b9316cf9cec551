"""Scenario values that know where they were stated, and how later ones are merged over earlier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kaiju_sim.scenario.base import Parts, child_parts


class Origin(NamedTuple):
    """Where a value was stated: in a file, by *via* (an override, an option, the defaults)."""

    file: str | None = None
    line: int | None = None
    via: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}"
        if self.file is None:
            return self.via
        return f"{self.via} ({place})" if self.via else place


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its origin: a mapping of nodes, a list of nodes, or a scalar."""

    value: Any
    origin: Origin
    size: int = 1
    """Nodes in it, itself included."""
    height: int = 0
    """Containers nested in it."""

    def plain(self) -> Any:
        """The value without origins."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def at(self, path: tuple[str | int, ...]) -> "Node | None":
        """The node at *path* (keys and indices), or None."""
        node: Node | None = self
        for step in path:
            if node is None or not isinstance(node.value, dict | list):
                return None
            node = _child(node.value, step)
        return node

    def moved(self, via: str) -> "Node":
        """The same tree, stated through *via*."""
        value = self.value
        if isinstance(value, dict):
            value = {key: child.moved(via) for key, child in value.items()}
        elif isinstance(value, list):
            value = [child.moved(via) for child in value]
        return Node(value, self.origin._replace(via=via), self.size, self.height)


def _child(value: Any, step: str | int) -> Node | None:
    if isinstance(value, dict):
        child: Node | None = value.get(step)
        return child
    return value[step] if isinstance(step, int) and step < len(value) else None


def dotted(path: Sequence[str | int]) -> str:
    """A path as people write it: `traffic.diurnal.shape[3]`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def default_node(value: Any) -> Node:
    """A plain value as a node that nobody has stated."""
    if isinstance(value, dict):
        value = {key: default_node(child) for key, child in value.items()}
    elif isinstance(value, list):
        value = [default_node(child) for child in value]
    return Node(value, Origin(via="default"))


def wrapped(node: Node, path: Sequence[str]) -> Node:
    """Mappings around *node* so that it sits at *path*."""
    for key in reversed(path):
        node = Node({key: node}, node.origin, node.size + 1, node.height + 1)
    return node


def merged(base: Node | None, over: Node, parts: Parts) -> Node:
    """*over* on top of *base*: mappings merge key by key, anything else replaces.

    *parts* is what the mapping may be. A distribution of another kind replaces too, since the keys
    of one kind mean nothing to the other.
    """
    if base is None or not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    if len(parts) > 1 and _kind(over, _kind(base, None)) != _kind(base, None):
        return over
    children = dict(base.value)
    for key, child in over.value.items():
        children[key] = merged(children.get(key), child, child_parts(parts, key))
    return Node(children, over.origin)


def _kind(node: Node, default: Any) -> Any:
    kind = node.value.get("kind")
    return default if kind is None else kind.plain()
