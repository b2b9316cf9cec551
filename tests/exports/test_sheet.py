"""Workbook and CSV: the answer first, numbers as numbers with units, no formulas from text."""

import builtins
import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from made_up_run import SCENARIO_YAML, result, summary

from kaiju_sim.errors import UserError
from kaiju_sim.exports import sheet as sheets
from kaiju_sim.exports.tables import Sheet, number_of, sheets_of
from kaiju_sim.report import headline
from kaiju_sim.report.rundir import RunDirectory, read_run, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("run") / "evening"
    write_run(result(messages=100, ticks=4), SCENARIO_YAML, {"seed": 7}, folder)
    return read_run(folder)


def named(run: RunDirectory) -> dict[str, Sheet]:
    return {sheet.name: sheet for sheet in sheets_of(run)}


def test_the_answer_is_in_the_first_line(run: RunDirectory) -> None:
    assert sheets_of(run)[0].heads == ("answer", headline.answer(run.summary))


def test_figures_are_numbers_with_units(run: RunDirectory) -> None:
    rows = {row[0]: row for row in named(run)["figures"].rows}
    assert set(rows) >= set(summary())
    cost = rows["cost.usd_per_message"]
    assert cost[3] == run.summary["cost.usd_per_message"]
    assert cost[4] == "USD"
    assert rows["slo.persona"][3] is None


def test_the_fleet_series_is_whole(run: RunDirectory) -> None:
    found = named(run)["series"]
    table = run.table("series").to_pylist()
    fleet = [list(row.values()) for row in table if row["level"] == "fleet"]
    assert [list(row) for row in found.rows] == fleet
    assert fleet


def test_the_workbook_reads_back(run: RunDirectory) -> None:
    pytest.importorskip("xlsxwriter")
    openpyxl = pytest.importorskip("openpyxl")
    made = sheets_of(run)
    data = sheets.workbook(made)
    assert data == sheets.workbook(made), "same run, same bytes"
    book = openpyxl.load_workbook(io.BytesIO(data))
    assert book.sheetnames == sheets.titles(made)
    for sheet, page in zip(made, book.worksheets, strict=True):
        rows = [sheet.heads, *sheet.rows]
        for read, wrote in zip(page.iter_rows(values_only=True), rows, strict=True):
            there = [cell for cell in wrote if cell not in (None, "")]
            assert [cell for cell in read if cell is not None] == [
                pytest.approx(cell, rel=1e-14) if isinstance(cell, float) else cell
                for cell in there
            ]


def test_text_is_never_a_formula() -> None:
    bad = Sheet("a/b", ("x",), [["=1+1"], ["-"], [-1.5]])
    rows = list(csv.reader(io.StringIO(sheets.csv_text(bad).decode("utf-8-sig"))))
    assert rows == [["x"], ["'=1+1"], ["-"], ["-1.5"]]
    assert sheets.csv_text(bad).startswith(b"\xef\xbb\xbf")
    pytest.importorskip("xlsxwriter")
    openpyxl = pytest.importorskip("openpyxl")
    page = openpyxl.load_workbook(io.BytesIO(sheets.workbook([bad]))).worksheets[0]
    assert page["A2"].value == "=1+1"
    assert page["A2"].data_type == "s"


def test_names_are_such_as_excel_takes() -> None:
    long = Sheet("what moves it: the cost of a message", (), [])
    found = sheets.titles([long, long, Sheet("Bill", (), []), Sheet("bill", (), [])])
    assert len({name.lower() for name in found}) == 4
    assert all(len(name) <= 31 and not set(name) & set("[]:*?/\\") for name in found)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1,234", 1234.0), ("12.5 %", 0.125), ("–", None), ("H100", "H100"), ("5.8e-06", 5.8e-6)],
)
def test_numbers_for_people_become_numbers(text: str, value: Any) -> None:
    assert number_of(text) == value


def test_csv_replaces_its_own_files_only(run: RunDirectory, tmp_path: Path) -> None:
    made = sheets_of(run)
    target = tmp_path / "csv"
    sheets.write_csv(made, target)
    sheets.write_csv(made, target)
    assert sorted(x.name for x in target.iterdir()) == sorted(sheets.file_names(made))
    (target / "mine.txt").touch()
    with pytest.raises(UserError, match=r"mine\.txt"):
        sheets.write_csv(made, target)
    assert [x.name for x in tmp_path.iterdir()] == ["csv"]


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Mapping[str, Sequence[Any]]) -> Any:
        if name == "xlsxwriter":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"kaiju-fleet-planner\[sheet\]"):
        sheets.workbook([])
