"""`kaiju-sim gate`: verdicts, exit codes, code and examples of one's own."""

import json
from pathlib import Path

import pytest

from kaiju_sim.cli import main

ROOT = Path(__file__).resolve().parents[2]
BASELINE = str(ROOT / "scenarios" / "baseline.yaml")


def test_a_passing_gate_is_0_and_a_blocked_one_3_with_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["gate", "safety", BASELINE, "--check"]) == 0
    assert "passed" in capsys.readouterr().out
    asked = ["gate", "persona", BASELINE, "--change", "requantised"]
    assert main(asked) == 0
    assert main([*asked, "--check"]) == 3
    assert "BLOCKED" in capsys.readouterr().out


def test_the_cache_gate_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["gate", "cache", BASELINE, "--change", "timestamp-seconds", "--format", "json"]
    assert main([*asked, "--set", "evals.cache.requests=40", "--check"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is False
    assert [row["tier"] for row in found["tiers"]] == ["head", "middle", "tail"]


def test_a_judge_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "def judge(conversation):\n    return [4.5] * len(conversation.turns)\n"
    )
    turns = json.dumps({"turns": ["Ahoy", "Arr"], "human": 4.5})
    Path("talk.jsonl").write_text(f"{turns}\n" * 30)
    asked = ["gate", "persona", BASELINE, "--judge", "mine.py:judge", "--examples", "talk.jsonl"]
    assert main([*asked, "--rated", "talk.jsonl", "--check"]) == 0
    assert "mine.py:judge: passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def judge(c):\n    raise OSError('down')\n", "mine.py:judge raised OSError: down"),
        ("class judge:\n    def __init__(self, key):\n        pass\n", "raised TypeError"),
        ("def judge(c):\n    return 'good'\n", "must give a score for each turn"),
        ("def judge(c):\n    return 4.5\n", "must give a score for each turn"),
        ("def judge(c):\n    return [9.0] * 2\n", "they go from 1 to 5"),
    ],
)
def test_a_judge_that_breaks_is_told_in_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: str,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(code)
    Path("talk.jsonl").write_text(2 * f"{json.dumps({'turns': ['Ahoy', 'Arr']})}\n")
    asked = ["gate", "persona", BASELINE, "--judge", "mine.py:judge", "--examples", "talk.jsonl"]
    assert main(asked) == 2
    assert told in capsys.readouterr().err


def test_a_classifier_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "class Filter:\n    def __call__(self, example):\n        return 'bad' in example.text\n"
    )
    rows = [
        json.dumps({"text": text, "set": name, "age_tier": "teen"})
        for text, name in (("bad words", "adversarial"), ("a duel", "benign_intense"))
    ]
    Path("sets.jsonl").write_text("\n".join(rows * 200))
    asked = ["gate", "safety", BASELINE, "--examples", "sets.jsonl", "--check"]
    assert main([*asked, "--classifier", "mine.py:Filter"]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["gate", "cache", BASELINE, "--change", "no-such-change"],
        ["gate", "cache", BASELINE, "--judge", "x.py:y"],
        ["gate", "persona", BASELINE, "--judge", "nowhere.py:y", "--examples", "none.jsonl"],
        ["gate", "persona", BASELINE, "--judge", "nowhere.py:y"],
        ["gate", "safety", BASELINE, "--examples", "none.jsonl"],
        ["gate", "taste", BASELINE],
    ],
)
def test_mistakes_are_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("error: ")
