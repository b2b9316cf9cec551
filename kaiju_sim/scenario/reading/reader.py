"""Reads YAML into a tree of plain values in which everything knows the line it comes from.

YAML 1.2 with the core schema, and less of it: one document, names as keys, no tags, no duplicate
keys, finite numbers of 64 bits. A file from anywhere is safe to read: its size, its lines, the
number of values after aliases are expanded and the depth of nesting are bounded, and nothing here
recurses.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
)

from kaiju_sim.errors import UserError
from kaiju_sim.scenario.tree import Node, Origin

MAX_FILE_BYTES: Final = 2**20
"""Largest file that is read."""
MAX_NODES: Final = 20_000
"""Keys and values of a file at most, aliases expanded."""
MAX_DEPTH: Final = 50
"""Deepest nesting."""

MAX_LINE: Final = 50_000
"""Longest line, in characters: the parser takes quadratic time on some."""

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LONG_LINE = re.compile(rf"[^\r\n]{{{MAX_LINE + 1}}}")
_WORDS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def read_file(path: Path, shown: str) -> Node:
    """The tree of a YAML file; *shown* is its name in messages. UserError if it cannot be read."""
    try:
        if not path.is_file():
            reason = "is a directory" if path.is_dir() else "not a regular file"
            raise UserError(reason if path.exists() else "no such file", shown)
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot be read: {reason}", shown) from None
    if len(data) > MAX_FILE_BYTES:
        raise UserError(f"larger than {MAX_FILE_BYTES // 1024} KiB: not a scenario", shown)
    return parse(_decoded(data, shown), Origin(shown))


def _decoded(data: bytes, shown: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError("not UTF-8 text", shown, line) from None


def parse(text: str, source: Origin) -> Node:
    """The tree of a YAML text that comes from *source*; UserError if it is not acceptable."""
    builder = _Builder(source)
    builder.check_text(text)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except UserError:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        builder.fail(_explained(error), builder.line if mark is None else mark.line + 1)
    except Exception as error:  # the parser raises much else on hostile text; none of it is ours
        builder.fail(f"not valid YAML: {error}", builder.line)
    return builder.result()


def _explained(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context or "syntax error")
    if "\\t" in problem:
        return "not valid YAML: a tab; indent with spaces"
    context = f" ({error.context})" if error.context and error.context != problem else ""
    return f"not valid YAML: {problem}{context}"


@dataclass(slots=True)
class _Open:
    """A container that is being read; *key* is the key whose value comes next."""

    items: Any
    line: int
    anchor: str | None
    key: str | None = None
    key_line: int = 0
    size: int = 1
    height: int = 1


@dataclass(slots=True)
class _Builder:
    """Turns parser events into nodes; the open containers are its stack."""

    source: Origin
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)
    root: Node | None = None
    documents: int = 0
    nodes: int = 0
    line: int = 1

    def result(self) -> Node:
        """The root, once all events are in."""
        if self.root is None:
            self.fail("empty", 1)
        return self.root

    def fail(self, message: str, line: int) -> NoReturn:
        """Ends with a UserError at *line* (of a file; an option has no lines)."""
        if self.source.file is None:
            raise UserError(f"{self.source.via}: {message}")
        raise UserError(message, self.source.file, line)

    def check_text(self, text: str) -> None:
        """Refuses characters and lines that no scenario has."""
        for pattern, what in ((_CONTROL, "a control character"), (_LONG_LINE, "a very long line")):
            match = pattern.search(text)
            if match:
                self.fail(f"{what}: not a scenario", text.count("\n", 0, match.start()) + 1)

    def take(self, event: Any) -> None:
        """Takes the parser's next event."""
        self.line = line = event.start_mark.line + 1 if event.start_mark else self.line
        if isinstance(event, DocumentStartEvent):
            self._document(event, line)
        elif isinstance(event, CollectionEndEvent):
            self._close()
        elif isinstance(event, NodeEvent):
            self._node(event, line)

    def _document(self, event: DocumentStartEvent, line: int) -> None:
        self.documents += 1
        if self.documents > 1:
            self.fail("a second document: a scenario is one YAML document", line)
        if event.tags or event.version not in (None, (1, 2)):
            self.fail("YAML directives are not supported", line)

    def _node(self, event: NodeEvent, line: int) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None:
            self.fail(f"YAML tags such as {_short(str(tag))} are not supported", line)
        if isinstance(event, AliasEvent):
            self._alias(str(event.anchor), line)
        elif isinstance(event, ScalarEvent):
            value = event.value if event.style else self._resolved(event.value, line)
            self._check_text(value, line)
            self._add(Node(value, self._origin(line)), line, event.anchor)
        else:
            self._open(event, line)

    def _open(self, event: NodeEvent, line: int) -> None:
        if len(self.stack) >= MAX_DEPTH:
            self.fail(f"nested deeper than {MAX_DEPTH} levels", line)
        if self._wants_key():
            self.fail("a key must be a name", line)
        items: Any = {} if isinstance(event, MappingStartEvent) else []
        self.stack.append(_Open(items, line, event.anchor))

    def _close(self) -> None:
        top = self.stack.pop()
        node = Node(top.items, self._origin(top.line), top.size, top.height)
        self._add(node, top.line, top.anchor)

    def _alias(self, name: str, line: int) -> None:
        node = self.anchors.get(name)
        if node is None:
            self.fail(f"alias *{name} has no anchor before it", line)
        if len(self.stack) + node.height > MAX_DEPTH:
            self.fail(f"nested deeper than {MAX_DEPTH} levels", line)
        self._count(node.size - 1, line)
        self._add(node, line, None)

    def _count(self, nodes: int, line: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            self.fail(f"more than {MAX_NODES} values (aliases expanded)", line)

    def _add(self, node: Node, line: int, anchor: str | None) -> None:
        self._count(1, line)
        if anchor is not None:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        if self._wants_key():
            self._key(top, node, line)
            return
        top.size += node.size
        top.height = max(top.height, node.height + 1)
        self._place(top, node)

    def _place(self, top: _Open, node: Node) -> None:
        if top.key is None:
            top.items.append(node)
            return
        origin = self._origin(top.key_line)
        top.items[top.key] = Node(node.value, origin, node.size, node.height)
        top.key = None

    def _key(self, top: _Open, node: Node, line: int) -> None:
        key = node.value
        if not isinstance(key, str):
            self.fail(f"a key must be a name, not {_short(key)}", line)
        if key == "<<":
            self.fail("merge keys (<<) are not supported; use extends or overrides", line)
        if key in top.items:
            first = top.items[key].origin.line
            self.fail(f"duplicate key {_short(key)} (first on line {first})", line)
        top.key, top.key_line = key, line

    def _wants_key(self) -> bool:
        return (
            bool(self.stack)
            and self.stack[-1].key is None
            and isinstance(self.stack[-1].items, dict)
        )

    def _origin(self, line: int) -> Origin:
        return self.source if self.source.file is None else self.source._replace(line=line)

    def _check_text(self, value: Any, line: int) -> None:
        if isinstance(value, str) and _SURROGATE.search(value):
            self.fail("half of a surrogate pair: not text", line)

    def _resolved(self, text: str, line: int) -> Any:
        """The value of a plain scalar by the YAML 1.2 core schema."""
        if text in _WORDS:
            return _WORDS[text]
        if _NOT_FINITE.fullmatch(text):
            self.fail(f"{text} is not a finite number", line)
        if not (_INT.fullmatch(text) or _FLOAT.fullmatch(text)):
            return text
        number = number_of(text)
        if number is None:
            self.fail(f"number out of range: {_short(text)}", line)
        return number


def number_of(text: str) -> int | float | None:
    """The number in *text*, or None where it does not fit 64 bits."""
    if len(text) > 100:
        return None
    if _INT.fullmatch(text):
        integer = int(text, 10 if text.lstrip("+-").isdigit() else 0)
        return integer if -(2**63) <= integer < 2**63 else None
    number = float(text)
    return number if abs(number) != float("inf") else None


def is_text(text: str) -> bool:
    """Whether *text*, written without quotes, is read as a string."""
    other = (_INT, _FLOAT, _NOT_FINITE)
    return text not in _WORDS and not any(pattern.fullmatch(text) for pattern in other)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
