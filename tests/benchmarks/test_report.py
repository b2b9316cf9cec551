"""`python -m benchmarks.report`: figures go between their marks, and nowhere else."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import __main__ as report

AROUND: dict[str, Any] = {
    "machine": {"cores": 2, "processor": "x86", "load_1min": 0.5},
    "versions": {
        "python": "3.11",
        "numba": "0.68",
        "commit": "abcdef0123456789",
        "modified": False,
    },
}
PAGE = "before\n<!-- figures: simulator -->\nold\n<!-- end -->\nbetween\n<!-- end -->\n"


def test_parts_of_one_benchmark_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(report, "PAGE", page)
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    parts = {"python_twin": {"messages_per_s": 332.4}}, {"simpy_timeouts_per_s": 1.89e6}
    for file, part in zip(files, parts, strict=True):
        file.write_text("a table\n" + json.dumps(part | AROUND) + "\n", encoding="utf-8")
    assert report.main([str(file) for file in files]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- figures: simulator -->\n")
    assert text.endswith("<!-- end -->\nbetween\n<!-- end -->\n")
    assert "| plain Python twin, messages/s | 332 |" in text
    assert "| bare SimPy, time-outs/s | 1,890,000 |" in text
    assert "Commit abcdef0123, " in text
    assert "load 0.5 when it began" in text
    assert "old" not in text


def test_each_benchmark_is_known_by_its_keys() -> None:
    assert report.sections_of({"w1": {}, "w2": {}}) == {"simulator"}
    assert report.sections_of({"w1": {}, "w2": {}, "w1_16_per_s": {}}) == {"peers"}
    assert report.sections_of({"features": {}, "against": {}}) == {"features", "against"}
    with pytest.raises(SystemExit, match="no figures"):
        report.sections_of({"machine": {}})


def test_the_page_has_a_place_for_every_section() -> None:
    text = report.PAGE.read_text(encoding="utf-8")
    for name in report.WRITTEN:
        assert text.count(f"<!-- figures: {name} -->") == 1
    assert text.count("<!-- end -->") == len(report.WRITTEN)
