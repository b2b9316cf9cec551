"""Loads a scenario: file, parents, overrides and options, merged, checked, with origins.

Later wins: defaults < `extends` parent < the file < `overrides` that were chosen, in the order in
which they were chosen < `--set`. Mappings merge, lists replace, and a distribution of another kind
replaces the one before.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from kaiju_sim.errors import UserError
from kaiju_sim.scenario import explain
from kaiju_sim.scenario.base import Part, Parts, find_field, is_open_mapping
from kaiju_sim.scenario.quantities import FROM_FILE
from kaiju_sim.scenario.reading.items import names_item, whole
from kaiju_sim.scenario.reading.problems import (
    nearest,
    of_validation,
    raise_first,
    unknown_keys,
)
from kaiju_sim.scenario.reading.reader import parse, read_file
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.scenario.traffic import Traffic
from kaiju_sim.scenario.tree import Node, Origin, default_node, dotted, merged, wrapped

MAX_PARENTS: Final = 10
"""Longest chain of `extends`."""

ROOT: Final[Parts] = (Scenario,)

MECHANISMS: Final = ("extends", "overrides")
"""Keys of a scenario file that are not part of the scenario."""

_FILES: Final = (("traffic", "trace", "file"), ("steptime", "profile"))


@dataclass(frozen=True)
class Loaded:
    """A scenario as it will run, and where each of its values was stated."""

    scenario: Scenario
    origins: dict[str, str]
    """Dotted path of each value: "file:line", "override NAME (file:line)", "--set" or "default"."""
    base_dir: Path
    """Folder of the scenario file, which its relative paths start from."""
    resolved: dict[str, Any]
    """All values, defaults included, as they are written in YAML (quantities with units)."""

    def located(self, error: UserError) -> UserError:
        """The error, with where the key was stated that its message begins with.

        For what shows only when parts meet: "gpu: unknown ...", "results.tick of ...".
        """
        key = error.message.split(maxsplit=1)[0].rstrip(":") if error.message else ""
        origin = self.origins.get(key, "default")
        if error.file is not None or origin == "default":
            return error
        file, colon, line = origin.rpartition(":")
        if colon and line.isdigit():
            return UserError(error.message, file, int(line))
        return UserError(f"{origin}: {error.message}")

    def to_yaml(self) -> str:
        """The resolved scenario as YAML; it loads to the same scenario."""
        return explain.to_yaml(self.resolved)


def load_scenario(
    path: str | os.PathLike[str], *, overrides: Sequence[str] = (), sets: Sequence[str] = ()
) -> Loaded:
    """The scenario in the file *path*, with named *overrides* and `path=value` *sets* on top.

    UserError, one line with file and line, for whatever is wrong with any of them.
    """
    return ScenarioFile(path).load(overrides, sets)


class ScenarioFile:
    """A scenario's file and its parents, read once, to be loaded with many settings."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """UserError for a file that cannot be read."""
        self.main = os.fspath(path)
        files = _family(self.main)
        self._blocks = _override_blocks(files)
        self._bodies = [_body(file) for file in files]

    def load(self, overrides: Sequence[str] = (), sets: Sequence[str] = ()) -> Loaded:
        """The scenario as `load_scenario` gives it."""
        main, blocks = self.main, self._blocks
        options = [_option(text) for text in sets]
        problems = [
            p for body in self._bodies for p in unknown_keys(body, ROOT, ROOT, also=MECHANISMS)
        ]
        for layer in (*blocks.values(), *(node for node in options if not names_item(node))):
            problems += unknown_keys(layer, ROOT, ROOT)
        raise_first(problems, main)
        chosen = [_chosen(name, blocks, main) for name in overrides]
        layers = [*self._bodies, *chosen]
        for option in options:
            item = names_item(option)
            layers.append(whole(option, _resolve(main, layers).resolved, ROOT) if item else option)
        return _resolve(main, layers)


def override_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the overrides that the file *path* and its parents have, in order."""
    return list(_override_blocks(_family(os.fspath(path))))


def _resolve(main: str, layers: Sequence[Node]) -> Loaded:
    """Merges the layers over the defaults and validates the result."""
    tree = _defaults(with_traffic=any("traffic" in layer.value for layer in layers))
    for layer in layers:
        tree = merged(tree, layer, ROOT)
    tree = Node(tree.value, Origin(main, 1))
    base_dir = Path(main).parent
    try:
        scenario = Scenario.model_validate(_values(tree, base_dir), context=FROM_FILE)
    except ValidationError as error:
        raise_first(of_validation(error, tree, ROOT), main)
        raise
    resolved = scenario.model_dump(mode="json")
    origins = {dotted(path): _origin(tree, path) for path, _ in explain.leaves(resolved)}
    return Loaded(scenario, origins, base_dir, resolved)


def _values(tree: Node, base_dir: Path) -> Any:
    """The plain values of *tree*, relative paths rewritten to start from *base_dir*."""
    values = tree.plain()
    for *block, key in _FILES:
        node = tree.at((*block, key))
        if node is not None and isinstance(node.value, str):
            target = values
            for step in block:
                target = target[step]
            target[key] = _rebased(node.value, node.origin, base_dir)
    return values


def _rebased(name: str, origin: Origin, base_dir: Path) -> str:
    """A path as stated at *origin* (an option: from the working directory) seen from *base_dir*.

    What is not a file from there (a profile's id, a file that is missing) stays as it is.
    """
    folder = Path() if origin.file is None else Path(origin.file).parent
    if folder == base_dir or "\0" in name or not (folder / name).is_file():
        return name
    return Path(os.path.relpath(folder / name, base_dir)).as_posix()


def _origin(tree: Node, path: tuple[str, ...]) -> str:
    node = tree.at(path)
    if node is None:
        return "default"
    return "--set" if node.origin.via.startswith("--set") else str(node.origin)


def _defaults(*, with_traffic: bool) -> Node:
    """The schema's defaults as the lowest layer, so that a file may change a part of one."""
    values = _stated_defaults(Scenario)
    if with_traffic:
        values["traffic"] = _stated_defaults(Traffic)
    return default_node(values)


def _stated_defaults(part: type[Part]) -> dict[str, Any]:
    return part.model_construct().model_dump(mode="json")


# --- the file and its parents ---------------------------------------------------------------------


def _family(main: str) -> list[Node]:
    """The file and its parents, the oldest first."""
    files = [_read(main)]
    seen = [os.path.realpath(main)]
    while (parent := files[-1].value.get("extends")) is not None:
        shown = _parent_file(parent)
        if os.path.realpath(shown) in seen:
            raise UserError(f"extends: {shown} extends itself", *parent.origin[:2])
        if len(seen) > MAX_PARENTS:
            raise UserError(f"extends: more than {MAX_PARENTS} parents", *parent.origin[:2])
        seen.append(os.path.realpath(shown))
        files.append(_read(shown))
    return files[::-1]


def _read(shown: str) -> Node:
    node = read_file(Path(shown), shown)
    if not isinstance(node.value, dict):
        what = "a list" if isinstance(node.value, list) else "a single value"
        raise UserError(f"a scenario is a mapping of keys, not {what}", *node.origin[:2])
    return node


def _parent_file(extends: Node) -> str:
    """The file that `extends` names, relative to the file that it stands in."""
    file, line, _ = extends.origin
    name = extends.value
    if not isinstance(name, str) or not name or "\0" in name:
        raise UserError("extends must be the path of one scenario file", file, line)
    shown = os.path.normpath(Path(file or "").parent / name)
    if not os.path.isfile(shown):
        raise UserError(f"extends: no such file: {shown}", file, line)
    return shown


def _body(file: Node) -> Node:
    values = {key: node for key, node in file.value.items() if key not in MECHANISMS}
    return Node(values, file.origin)


# --- overrides and options ------------------------------------------------------------------------


def _override_blocks(files: Sequence[Node]) -> dict[str, Node]:
    """The named overrides of all files; a file's block merges over its parent's of that name."""
    blocks: dict[str, Node] = {}
    for file in files:
        stated = file.value.get("overrides")
        if stated is None:
            continue
        if not isinstance(stated.value, dict):
            raise UserError("overrides must be a mapping of names to blocks", *stated.origin[:2])
        for name, block in stated.value.items():
            if not isinstance(block.value, dict):
                raise UserError(f"overrides.{name} must be a mapping", *block.origin[:2])
            blocks[name] = merged(blocks.get(name), block.moved(f"override {name}"), ROOT)
    return blocks


def _chosen(name: str, blocks: dict[str, Node], main: str) -> Node:
    if name not in blocks:
        available = ", ".join(blocks) or "none"
        hint = nearest(name, blocks)
        raise UserError(f"--with {name}: no such override{hint} (there is: {available})", main)
    return blocks[name]


def _option(text: str) -> Node:
    """The layer that `--set path=value` stands for."""
    path, equals, value = text.partition("=")
    source = Origin(via=f"--set {text if len(text) <= 80 else text[:77] + '...'}")
    if not equals or not path.strip() or not value.strip():
        raise UserError(f"{source.via}: write path=value, such as fleet.replicas=12")
    return wrapped(parse(value, source), _keys(path.strip()))


def _keys(path: str) -> list[str]:
    """The keys of a dotted path; below `sweep`, the rest is one key."""
    keys = path.split(".")
    for end in range(1, len(keys)):
        if is_open_mapping(find_field(ROOT, keys[:end])):
            return [*keys[:end], ".".join(keys[end:])]
    return keys
