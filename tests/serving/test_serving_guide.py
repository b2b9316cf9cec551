"""A guide is strict: whatever it says that means nothing is an error with its line."""

from pathlib import Path

import pytest

from calibrate.engine.served.guide import Guide, read_guide
from calibrate.serving.rules import Rules, guide_of, rules_of
from kaiju_sim.errors import UserError

WHOLE = """
heads: [kind, rude, unsafe]
thresholds:
  - {head: unsafe, above: 0.5}
penalties:
  - {head: rude, above: 0.25, amount: 1000, growth: 2}
rewards:
  - {head: kind}
when_all_filtered: refuse
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "guide.yaml"
    file.write_text(text)
    return file


def read(folder: Path, text: str) -> Guide:
    return read_guide(written(folder, text))


def test_what_a_guide_says(tmp_path: Path) -> None:
    guide = read(tmp_path, WHOLE)
    said = guide.said
    assert said.model_dump(exclude={"heads"}) == {
        "thresholds": ({"head": "unsafe", "above": 0.5},),
        "penalties": ({"head": "rude", "above": 0.25, "amount": 1000, "growth": 2},),
        "rewards": ({"head": "kind", "exponent": 0.5},),
        "when_all_filtered": "refuse",
    }
    assert guide.heads(None) == guide.heads(["kind", "rude", "unsafe"])
    assert guide.heads(None) == ("kind", "rude", "unsafe")


def test_heads_are_a_checkpoints_or_those_that_rules_name(tmp_path: Path) -> None:
    guide = read(tmp_path, WHOLE.replace("heads: [kind, rude, unsafe]", ""))
    assert guide.heads(None) == ("unsafe", "rude", "kind")
    assert guide.heads(["rude", "x", "kind", "unsafe"]) == ("rude", "x", "kind", "unsafe")


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("head: rude", "head: rud", 6, ["'rud'", "did you mean rude", "kind, rude, unsafe"]),
        ("head: kind", "head: kindness", 8, ["rewards[0].head", "kind, rude, unsafe"]),
        ("rude, unsafe", "unsafe", 6, ["penalties[0].head", "no head 'rude'"]),
        ("rude, unsafe", "rude, rude", 2, ["heads[2]", "twice"]),
        ("above: 0.5", "above: 1.5", 4, ["thresholds[0].above", "at most 1"]),
        ("amount: 1000, ", "", 6, ["missing", "amount"]),
        ("growth", "grows", 6, ["grows"]),
        ("penalties:", "fines:", 5, ["unknown key fines", "penalties"]),
        ("refuse", "stop", 9, ["flag", "refuse", "stop"]),
        ("{head: kind}", "{head: kind}\n  - {head: kind, exponent: 1}", 9, ["'kind'", "twice"]),
        (WHOLE, "heads: [kind]", 1, ["there is none"]),
        (WHOLE, "- kind", 1, ["mapping"]),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, words: list[str]
) -> None:
    file = written(tmp_path, WHOLE.replace(old, new))
    with pytest.raises(UserError) as wrong:
        read_guide(file)
    assert (wrong.value.file, wrong.value.line) == (str(file), line)
    assert all(word in wrong.value.message for word in words), wrong.value.message


def test_a_checkpoints_heads_are_what_rules_may_name(tmp_path: Path) -> None:
    guide = read(tmp_path, WHOLE)
    with pytest.raises(UserError, match=r"guide.yaml:2: heads: the checkpoint's are kind, rude$"):
        guide.heads(["kind", "rude"])
    free = read(tmp_path, WHOLE.replace("heads: [kind, rude, unsafe]", ""))
    with pytest.raises(UserError, match=r"guide.yaml:4: thresholds.*'unsafe' \(allowed: a, b\)"):
        free.heads(["a", "b"])


def test_candidates_need_a_guide_and_a_guide_candidates(tmp_path: Path) -> None:
    file = written(tmp_path, WHOLE)
    several = rules_of(None, candidates=3)
    found = guide_of(several, file)
    assert found is not None
    assert found.heads(None) == ("kind", "rude", "unsafe")
    assert guide_of(Rules(), None) is None
    with pytest.raises(UserError, match="nobody judges them: give --guide"):
        guide_of(several, None)
    with pytest.raises(UserError, match="one candidate"):
        guide_of(Rules(), file)
    with pytest.raises(UserError, match="no such file"):
        guide_of(several, tmp_path / "none.yaml")


def test_the_documents_guide_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "engine.md").read_text()
    text = page.partition("```yaml\nheads:")[2].partition("```")[0]
    guide = read(tmp_path, f"heads:{text}")
    assert guide.heads(None) == ("engaging", "rude", "unsafe")
    assert guide.said.rewards[0].exponent == 0.5
