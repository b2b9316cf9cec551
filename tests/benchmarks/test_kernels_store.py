"""The files of a kernel measurement: the columns that others read, and runs beside runs."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from kernel_rows import row, samples

from benchmarks.kernels import store
from benchmarks.kernels.cases import chosen

FIRST, SECOND = chosen("^decode 64 heads (128|512) x 8192$")
GPU = "h100-test"
NAMED = ["operator", "shape", "impl", "us_median", "us_p05", "us_p95", "tb_per_s", "tops"]


def save(folder: Path, run: str, *cases_us: tuple[object, float]) -> None:
    rows = [row(case, "ours", us) | {"run": run} for case, us in cases_us]  # type: ignore[arg-type]
    taken = [one for case, us in cases_us for one in samples(case, "ours", us)]  # type: ignore[arg-type]
    store.save(GPU, rows, taken, {"run": run, "commit": run}, folder)


def test_columns_in_their_order(tmp_path: Path) -> None:
    save(tmp_path, "a", (FIRST, 100.0))
    table = pq.read_table(tmp_path / f"kernels-{GPU}.parquet")
    assert table.column_names[:9] == [*NAMED, "repeats"]
    assert table.column_names[9:] == [field.name for field in store.MORE]
    single = pq.read_table(tmp_path / f"kernels-{GPU}-samples.parquet")
    assert single.column_names == ["operator", "shape", "impl", "sample", "us"]
    assert single.column("us").to_pylist() == pytest.approx([90.0, 100.0, 110.0])


def test_a_later_run_replaces_its_own_cases_only(tmp_path: Path) -> None:
    save(tmp_path, "a", (FIRST, 100.0), (SECOND, 400.0))
    save(tmp_path, "b", (FIRST, 90.0))
    rows = store.read(store.path(GPU, ".parquet", tmp_path))
    assert {(r["shape"], r["us_median"], r["run"]) for r in rows} == {
        (FIRST.key[1], 90.0, "b"),
        (SECOND.key[1], 400.0, "a"),
    }
    assert len(store.read(store.path(GPU, "-samples.parquet", tmp_path))) == 6
    runs = store.read_json(store.path(GPU, ".json", tmp_path))["runs"]
    assert [run["run"] for run in runs] == ["a", "b"]


def test_a_run_without_rows_left_is_forgotten_and_one_saved_twice_stands_once(
    tmp_path: Path,
) -> None:
    save(tmp_path, "a", (FIRST, 100.0))
    save(tmp_path, "b", (FIRST, 90.0))
    save(tmp_path, "b", (FIRST, 90.0), (SECOND, 400.0))
    runs = store.read_json(store.path(GPU, ".json", tmp_path))["runs"]
    assert [run["run"] for run in runs] == ["b"]


def test_nothing_is_left_beside_the_files(tmp_path: Path) -> None:
    save(tmp_path, "a", (FIRST, 100.0))
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {f"kernels-{GPU}{kind}" for kind in (".parquet", "-samples.parquet", ".json")}


def test_which_gpus_there_are(tmp_path: Path) -> None:
    assert store.measured(tmp_path) == []
    save(tmp_path, "a", (FIRST, 100.0))
    store.save_accuracy(GPU, [], {"run": "a"}, tmp_path)
    assert store.measured(tmp_path) == [GPU]
