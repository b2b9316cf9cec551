"""A user's own judge, classifier and examples: callables by name, examples from JSON lines."""

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kaiju_sim.errors import UserError
from kaiju_sim.evals.protocols import AGE_TIERS, Conversation, Example, Rated

_SETS = {"adversarial": True, "benign_intense": False}


def callable_of(name: str) -> Callable[..., Any]:
    """The callable `module:name` or `file.py:name`; a class is called once, without arguments."""
    where, colon, attribute = name.rpartition(":")
    if not colon:
        raise UserError(f"{name}: write module:function or file.py:function")
    local = where.endswith(".py")
    try:
        module = _from_file(Path(where)) if local else importlib.import_module(where)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where} cannot be imported: {type(error).__name__}: {error}") from error
    found = getattr(module, attribute, None)
    if isinstance(found, type):
        found = guarded(name, found)()
    if not callable(found):
        raise UserError(f"{where} has no callable {attribute!r}")
    return guarded(name, found)


def guarded(name: str, theirs: Callable[..., Any]) -> Callable[..., Any]:
    """The same callable; what it raises becomes a UserError that names it."""

    def called(*arguments: Any) -> Any:
        try:
            return theirs(*arguments)
        except Exception as error:
            raise UserError(f"{name} raised {type(error).__name__}: {error}") from error

    return called


def _from_file(path: Path) -> Any:
    """The module in a file."""
    if not path.is_file():
        raise UserError("no such file", path)
    spec = importlib.util.spec_from_file_location(f"_evals_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and objects of a file of JSON lines."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", path) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            raise UserError("this line is no JSON object", path, number) from None
        if not isinstance(row, dict):
            raise UserError("this line is no JSON object", path, number)
        yield number, row


def field_of(row: dict[str, Any], key: str, kind: type, path: Path, line: int) -> Any:
    """A field of a row, of the kind that it must be."""
    value = row.get(key)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind):
        raise UserError(f"{key!r} must be a {kind.__name__}", path, line)
    return value


def conversation_of(row: dict[str, Any], number: int, path: Path, line: int) -> Conversation:
    """A conversation from its row: `turns`, a list of texts."""
    turns = field_of(row, "turns", list, path, line)
    if not turns or not all(isinstance(turn, str) for turn in turns):
        raise UserError("'turns' must be a list of texts, one or more", path, line)
    return Conversation(number, tuple(turns))


def read_conversations(path: Path) -> list[Conversation]:
    """Conversations, one a line: {"turns": ["...", ...]}."""
    return [conversation_of(row, i, path, line) for i, (line, row) in enumerate(rows_of(path))]


def read_rated(path: Path) -> list[Rated]:
    """Rated examples, one a line: {"turns": ["...", ...], "human": 4.5}."""
    found = []
    for i, (line, row) in enumerate(rows_of(path)):
        human = field_of(row, "human", float, path, line)
        if not 1 <= human <= 5:
            raise UserError(f"'human' must be from 1 to 5, not {human:g}", path, line)
        found.append(Rated(conversation_of(row, i, path, line), human))
    return found


def read_examples(path: Path) -> list[Example]:
    """Messages, one a line: {"text": "...", "set": "adversarial", "age_tier": "teen"}."""
    found = []
    for i, (line, row) in enumerate(rows_of(path)):
        kind = field_of(row, "set", str, path, line)
        tier = next((t for t in AGE_TIERS if t == row.get("age_tier", "adult")), None)
        if kind not in _SETS or tier is None:
            raise UserError(
                "'set' is adversarial or benign_intense, 'age_tier' adult or teen", path, line
            )
        text = field_of(row, "text", str, path, line)
        found.append(Example(i, text, tier, _SETS[kind]))
    return found
