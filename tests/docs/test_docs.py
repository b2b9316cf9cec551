"""The documents keep up with the code: commands parse, links resolve, names exist.

Nothing is simulated here: commands of the documents are parsed by the real command line, with what
each verb does replaced by a note of the options that it was given.
"""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from benchmarks import simulator
from kaiju_sim.cli import make_app
from kaiju_sim.scenario.loader import load_scenario

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GENERATED = {
    "docs/metrics.md": "kaiju_sim.report.metrics_doc",
    "docs/scenario.md": "kaiju-sim schema",
    "docs/audit.md": "kaiju-sim audit",
}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SOURCE = re.compile(r"`([\w.]+/[\w/.]+\.(?:py|yaml|md))(?:::(\w+))?`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name_of(page: Path) -> str:
    """A page's path from the repository root."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """Text of the page's code blocks in one of these languages."""
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield text


def shell_lines(page: Path) -> Iterator[str]:
    """Lines of shell code, continued ones joined; in console blocks, what follows the prompt."""
    for text in blocks(page, "sh", "bash"):
        yield from text.replace("\\\n", " ").splitlines()
    for text in blocks(page, "console"):
        for line in text.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield line.removeprefix("$ ")


def commands(page: Path) -> Iterator[list[str]]:
    """Words of each `kaiju-sim` command in the page's code blocks."""
    for line in shell_lines(page):
        words = shlex.split(line, comments=True)
        if words and words[0].rsplit("/", 1)[-1] == "kaiju-sim":
            yield words[1:]


ALL_COMMANDS = [
    pytest.param(words, id=f"{name_of(page)}: {' '.join(words)}"[:90])
    for page in PAGES
    for words in commands(page)
]


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The verb and the options of a command, by the real parser."""
    group: Any = typer.main.get_command(make_app())
    verb = group.get_command(None, words[0])
    assert verb is not None, f"there is no verb {words[0]!r}"
    try:
        return words[0], dict(verb.make_context(words[0], list(words[1:])).params)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise AssertionError(f"kaiju-sim {' '.join(words)}: {error.format_message()}") from error


def scenario_of(name: str) -> Path:
    """The scenario file that a document means."""
    return ROOT / (name if name.endswith(".yaml") else f"scenarios/{name}.yaml")


def real(sets: list[str]) -> list[str]:
    """`--set`s without those whose value is a place-holder."""
    return [item for item in sets if not item.endswith("=PATH")]


def test_the_documents_have_commands() -> None:
    assert len(ALL_COMMANDS) > 10


@pytest.mark.parametrize("words", ALL_COMMANDS)
def test_commands_parse_and_their_scenarios_load(words: list[str]) -> None:
    verb, options = parsed(words)
    if verb == "run":
        sets = real(list(options["set_"] or ()))
        load_scenario(scenario_of(options["scenario"]), overrides=options["with_"] or (), sets=sets)
    if verb == "trace" and options["file"] not in ("PATH", "FILE"):
        assert (ROOT / options["file"]).is_file()


@pytest.mark.parametrize("bad", [["runn", "x"], ["run", "x", "--no-such-option"]])
def test_the_check_sees_a_bad_command(bad: list[str]) -> None:
    with pytest.raises(AssertionError):
        parsed(bad)


def test_benchmark_commands_parse() -> None:
    found = [
        words[words.index("benchmarks.simulator") + 1 :]
        for page in PAGES
        for words in (shlex.split(line, comments=True) for line in shell_lines(page))
        if "benchmarks.simulator" in words
    ]
    assert found
    for words in found:
        simulator.options(words)


def slug(heading: str) -> str:
    """The anchor that a heading gets on a page."""
    plain = re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_anchors_resolve(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link}"
        if anchor:
            anchors = {slug(heading) for heading in HEADING.findall(prose(target))}
            assert anchor in anchors, f"{name_of(page)}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_examples_name_what_exists(page: Path) -> None:
    for text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), text


def test_source_files_named_in_the_documents_exist() -> None:
    """Paths from the root, or inside the package, and functions given as `file.py::name`."""
    for page in PAGES:
        for named, function in SOURCE.findall(prose(page)):
            places = [top / named for top in (ROOT, ROOT / "kaiju_sim") if (top / named).is_file()]
            assert places, f"{name_of(page)}: {named}"
            if function:
                assert f"def {function}(" in places[0].read_text(encoding="utf-8"), function


def test_every_page_is_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = {link.partition("#")[0] for link in LINK.findall(readme)}
    assert {name_of(page) for page in PAGES[1:]} <= linked


@pytest.mark.parametrize("page", GENERATED)
def test_generated_pages_say_so(page: str) -> None:
    top = (ROOT / page).read_text(encoding="utf-8")[:500]
    assert "enerated" in top
    assert GENERATED[page] in top


def test_every_override_and_scenario_is_documented() -> None:
    """A reader of the README or the results meets each scenario file that ships."""
    texts = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for scenario in (ROOT / "scenarios").glob("*.yaml"):
        assert f"scenarios/{scenario.name}" in texts


def test_no_place_holders_are_left() -> None:
    for page in PAGES:
        assert "@@" not in page.read_text(encoding="utf-8"), name_of(page)
