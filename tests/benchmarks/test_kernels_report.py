"""`python -m benchmarks.kernels --report`: reached or not, from the files alone."""

import json
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from kernel_rows import row, samples

from benchmarks.kernels import store
from benchmarks.kernels.__main__ import main, options
from benchmarks.kernels.aims import AIMS, floor_us
from benchmarks.kernels.cases import Case, chosen
from benchmarks.kernels.report import page, plots, tables

ROOT = Path(__file__).resolve().parents[2]
GPU = "h100-test"


def case_of(name: str) -> Case:
    return next(case for case in chosen(None) if case.name == name)


DECODE = case_of("decode 64 heads 128 x 8192")
PRODUCT = case_of("matmul 13b up 2048 x 17536 x 5120")
NORM = case_of("norm 512 x 5120")


def verdicts(rows: list[store.Row], case: Case) -> dict[str, str]:
    return {a["text"]: a["verdict"] for a in tables.judged(rows) if a["case"] == case.name}


@pytest.mark.parametrize(
    ("tb_per_s", "wanted"),
    [(2.8, tables.REACHED), (2.7, tables.SHORT), (2.6, tables.SHORT), (2.59, tables.MISSED)],
)
def test_a_figure_against_must_and_aim(tb_per_s: float, wanted: str) -> None:
    rows = [row(DECODE, "ours", DECODE.bytes / tb_per_s * 1e-6 * (1 - 1e-12))]
    assert verdicts(rows, DECODE)["2.6 (2.75) TB/s"] == wanted
    assert verdicts(rows, DECODE)["1.9 x torch SDPA flash"] == tables.UNKNOWN


def test_a_speed_up_is_against_the_fastest_of_the_named_peers() -> None:
    peers = [
        row(DECODE, "torch SDPA flash bf16 2.11", 200.0),
        row(DECODE, "torch SDPA flash bf16, heads as queries 2.11", 180.0),
        row(DECODE, "torch SDPA cuDNN bf16 2.11", 90.0),
    ]
    assert (
        verdicts([row(DECODE, "ours", 94.0), *peers], DECODE)["1.9 x torch SDPA flash"]
        == tables.REACHED
    )
    assert (
        verdicts([row(DECODE, "ours", 100.0), *peers], DECODE)["1.9 x torch SDPA flash"]
        == tables.MISSED
    )


def test_another_backend_of_ours_is_neither_ours_nor_a_peer() -> None:
    rows = [row(NORM, "ours, plain Triton", 1.0), row(NORM, "Triton copy 3.6.0", 8.5)]
    assert set(verdicts(rows, NORM).values()) == {tables.UNKNOWN}
    assert verdicts([*rows, row(NORM, "ours", 10.0)], NORM) == {
        "0.85 x Triton copy": tables.REACHED
    }


def test_the_better_of_alone_and_chained_counts_and_is_named() -> None:
    rows = [row(DECODE, "ours", 120.0), row(DECODE, "ours chained", 100.0)]
    (found,) = (a for a in tables.judged(rows) if a["case"] == DECODE.name and not a["versus"])
    assert (found["impl"], found["verdict"]) == ("ours chained", tables.SHORT)
    assert found["measured"] == pytest.approx(DECODE.bytes * 1e-8)
    assert f"{found['measured']:.2f} | ours chained | " in tables.aims_table([found])
    rows[1]["us_median"] = 130.0
    assert tables.measured_case(DECODE, rows)["of_floor"] == pytest.approx(floor_us(DECODE) / 120)


def test_nothing_measured_is_nothing_reached() -> None:
    found = list(tables.judged([]))
    assert {a["verdict"] for a in found} == {tables.UNKNOWN}
    assert {a["text"] for a in found} == {aim.text for aim in AIMS}
    assert f"0 of {len(found)} reached" in tables.aims_table(found)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Files of a measurement of two cases, with an accuracy report."""
    rows, taken = [], []
    for case, ours, peer, name in (
        (DECODE, 100.0, 201.0, "torch SDPA flash bf16 2.11"),
        (PRODUCT, 300.0, 500.0, "torch._int_mm 2.11"),
    ):
        rows += [row(case, "ours", ours), row(case, name, peer)]
        taken += [*samples(case, "ours", ours), *samples(case, name, peer)]
    run = {"run": rows[0]["run"], "commit": "abc", "gpu": "NVIDIA H100 test"}
    store.save(GPU, rows, taken, run, tmp_path)
    errors = [
        {
            "operator": "decode_attention",
            "context": context,
            "pattern": "sink +8",
            "scheme": scheme,
            "relative_error": error,
            "relative_error_worst": 2 * error,
            "heads": 64,
            "queries": 8,
        }
        for context in (128, 16384)
        for scheme, error in (("ours", 0.0025), ("naive", 0.78))
    ]
    store.save_accuracy(GPU, errors, run, tmp_path)
    return tmp_path


def test_the_report_needs_no_torch(results: Path) -> None:
    code = (
        "import sys; sys.modules.update(torch=None, triton=None)\n"
        "from benchmarks.kernels.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "--report", "--results", str(results)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        "| decode 64 heads 128 x 8192 | 2.6 (2.75) TB/s | 2.68 | ours | reached, not the aim |"
        in (done.stdout)
    )
    assert (
        "| decode 64 heads 128 x 8192 | 1.9 x torch SDPA flash | 2.01 | ours | reached |"
        in done.stdout
    )
    assert (
        "| matmul 13b up 2048 x 17536 x 5120 | 1250 TOPS | 1226 | ours | not reached |"
        in done.stdout
    )
    assert "| decode_attention | sink +8 | naive | 0.7800 | 0.7800 |" in done.stdout


def test_the_report_for_machines(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--report", "--results", str(results), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["gpu"] == GPU
    assert {case["case"] for case in report["cases"]} == {DECODE.name, PRODUCT.name}
    product = next(case for case in report["cases"] if case["case"] == PRODUCT.name)
    assert product["bound_by"] == "MMA"
    assert product["of_floor"] == pytest.approx(product["floor_us"] / 300)
    assert product["impls"] == {"ours": 300.0, "torch._int_mm 2.11": 500.0}
    assert len(report["accuracy"]) == 4


def test_drawings(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "img"
    arguments = ["--report", "--results", str(results), "--plots", str(folder)]
    assert main(arguments) == 0
    names = {file.name for file in folder.iterdir()}
    assert names == {"kernels-decode.svg", "kernels-matmul-large.svg"}
    assert "kernels-decode.svg" in capsys.readouterr().err
    root = ET.parse(folder / "kernels-decode.svg").getroot()
    words = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {DECODE.name, "2.68  ours", "must", "aim"} <= words
    assert len(list(root.iter("{http://www.w3.org/2000/svg}rect"))) == 3


def test_a_page_is_filled_between_its_marks_again_and_again(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "docs" / "page.md"
    file.parent.mkdir()
    file.write_text(f"before\n{page.BEGIN}old\n{page.END}after\n", encoding="utf-8")
    plots_in = ["--plots", str(file.parent / "img"), "--page", str(file)]
    for _ in range(2):
        assert main(["--report", "--results", str(results), *plots_in]) == 0
    text = file.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith(f"{page.END}after\n")
    assert "old" not in text
    assert text.count("| decode 64 heads 128 x 8192 | 2.6 (2.75) TB/s | 2.68 | ours |") == 1
    assert "![kernels-decode](img/kernels-decode.svg)" in text
    file.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="no place for figures"):
        main(["--report", "--results", str(results), "--page", str(file)])


def test_small_and_large_products_are_drawn_apart() -> None:
    small, large = (p for p in plots.PARTS if p.operators == ("matmul",))
    for m, part in ((1, small), (16, small), (64, small), (256, large), (8192, large)):
        case = {"operator": "matmul", "shape": {"m": m}}
        assert [p for p in (small, large) if plots.shown_in(p, case)] == [part]


def test_without_results_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no results in"):
        main(["--report", "--results", str(tmp_path)])


def test_of_several_gpus_one_must_be_named(results: Path) -> None:
    store.save("other", [], [], {"run": "x"}, results)
    with pytest.raises(SystemExit, match=f"--gpu: give one of {GPU}, other"):
        main(["--report", "--results", str(results)])
    assert main(["--report", "--results", str(results), "--gpu", GPU]) == 0


def test_cases_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--only", "^prefill 64 heads 4096$"]) == 0
    assert capsys.readouterr().out == "prefill 64 heads 4096\n"


def test_committed_results_are_small() -> None:
    for file in store.RESULTS.glob("kernels-*"):
        assert file.stat().st_size < 2_000_000, file.name


def test_the_commands_of_the_page_parse() -> None:
    page = (ROOT / "docs" / "kernels.md").read_text(encoding="utf-8")
    start = "python -m benchmarks.kernels"
    commands = [line for line in page.splitlines() if line.startswith(start)]
    assert len(commands) > 4
    for line in commands:
        options(shlex.split(line, comments=True)[3:])


def test_a_pattern_that_is_none_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options(["--only", "("])
    assert "unterminated" in capsys.readouterr().err
