"""`python -m calibrate fidelity`: what it prints, what it writes, what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fidelity_small import PROFILE, distorted, options, quiet

from calibrate.__main__ import main
from calibrate.fidelity import command
from calibrate.fidelity.measure import Task, tasks_of, with_capacity
from calibrate.fidelity.serve.fake import Distortion
from calibrate.fidelity.store import Store
from calibrate.publish import SAMPLES
from kaiju_sim.errors import UserError

FAKE = [
    "fidelity",
    "--fake",
    "--workload",
    "poisson-70",
    "--capacity",
    "60",
    "--seconds",
    "3s",
    "-q",
]


def last_line(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def test_it_measures_compares_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path)]
    assert main([*FAKE, *out]) == 0
    text = capsys.readouterr().out
    assert text.startswith("poisson-70: 3 s, 1 to run, 0 there\n")
    said = last_line(text)
    assert said["measured"] == ["poisson-70/run-1"]
    assert said["verdict"]["judged"] == said["verdict"]["kept"] == 7
    assert all(Path(said["paths"][name]).exists() for name in ("samples", "fidelity"))
    (plot,) = map(Path, said["paths"]["plots"])
    assert plot.read_text().count("<path") > 20

    assert main(["fidelity", "--report", *out]) == 0
    assert "Worst case: poisson-70, ttft p50: +0.0 %. 7 of 7" in capsys.readouterr().out
    assert main(["fidelity", "--report", "--format", "markdown", *out]) == 0
    assert "| poisson-70 | ttft p50 |" in capsys.readouterr().out
    assert main(["fidelity", "--report", "--format", "json", *out]) == 0
    rows = last_line(capsys.readouterr().out)["rows"]
    names = {"workload", "load", "metric", "statistic", "measured", "simulated", "rel_error"}
    assert all(names | {"repeat_spread"} <= set(row) for row in rows)

    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n<!-- fidelity figures: begin -->\n<!-- fidelity figures: end -->\nEnd\n"
    )
    assert main(["fidelity", "--page", str(page), *out]) == 0
    filled = page.read_text()
    assert "| poisson-70 | 70 % | +0.0 % |" in filled
    assert f"({PROFILE}/img/poisson-70.svg)" in filled
    assert filled.startswith("# Page\n")
    assert filled.endswith("-->\nEnd\n")
    page.write_text("none")
    assert main(["fidelity", "--page", str(page), *out]) == 2
    capsys.readouterr()

    written = (tmp_path / PROFILE / "fidelity.json").read_bytes()
    assert main(["fidelity", "--recompute", "-q", *out]) == 0
    assert (tmp_path / PROFILE / "fidelity.json").read_bytes() == written

    assert main([*FAKE, *out]) == 0  # nothing is left to measure
    assert last_line(capsys.readouterr().out)["measured"] == []


def test_workloads_of_several_commands_are_combined(tmp_path: Path) -> None:
    opened = distorted(Distortion())
    for name in ("poisson-40", "poisson-85"):
        command.run(options(tmp_path, name), quiet(), lambda line: None, opened)
    found = command.read(options(tmp_path))
    assert [one["workload"] for one in found["workloads"]] == ["poisson-40", "poisson-85"]


def test_another_profile_is_compared_with_the_same_samples(tmp_path: Path) -> None:
    """Its steps take 2 % longer: the runs are as they were, the simulation is another one."""
    opened = distorted(Distortion())
    command.run(options(tmp_path, "poisson-70"), quiet(), lambda line: None, opened)
    before = command.read(options(tmp_path))
    source = Path("kaiju_sim/catalog/measured") / PROFILE / "profile.json"
    changed = json.loads((SAMPLES.parents[1] / source).read_text())
    rows = changed["curves"]["rows"]
    rows["seconds"] = [s * 1.02 for s in rows["seconds"]]
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(changed))
    asked = command.Options(str(file), out=tmp_path)
    command.recompute(asked, quiet())
    after = command.read(asked)
    pairs = list(zip(before["rows"], after["rows"], strict=True))
    assert all(a["measured"] == b["measured"] for a, b in pairs)
    tpot = next(b for b in after["rows"] if (b["metric"], b["statistic"]) == ("tpot", "mean"))
    assert 0.01 < tpot["rel_error"] < 0.05


def test_samples_without_their_workload_make_it_again(tmp_path: Path) -> None:
    opened = distorted(Distortion())
    command.run(options(tmp_path, "poisson-70"), quiet(), lambda line: None, opened)
    (tmp_path / PROFILE / "fidelity" / "poisson-70" / "workload.parquet").unlink()
    command.recompute(options(tmp_path), quiet())
    assert command.read(options(tmp_path))["verdict"]["kept"] == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workload", "possion-40"], "must be one of"),
        (["--seconds", "soon"], "--seconds"),
        (["--seconds", "1s"], "between 3s and 1h"),
        (["--repeats", "0"], "--repeats"),
        (["--capacity", "-1"], "--capacity"),
        (["--profile", "h100-80gb-kaiju-14b-tp1"], "unknown profile"),
        (["--report"], "nothing has been compared yet"),
        (["--recompute"], "there are no runs"),
        (["--prepare", "--workload", "poisson-40"], "--workload capacity"),
        (["--prepare", "--workload", "mooncake", "--data", "/nowhere"], "public traces"),
        (["--prepare", "--workload", "azure", "--data", "/nowhere"], "public traces"),
    ],
)
def test_mistakes_are_told_in_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fidelity", *words, "--out", str(tmp_path), "-q"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_what_a_fake_measures_stays_out_of_the_checkout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(FAKE) == 2
    assert "--out" in capsys.readouterr().err


def test_broken_samples_are_told(tmp_path: Path) -> None:
    opened = distorted(Distortion())
    asked = options(tmp_path, "poisson-70")
    command.run(asked, quiet(), lambda line: None, opened)
    folder = tmp_path / PROFILE / "fidelity" / "poisson-70"
    (folder / "run-1" / "steps.parquet").write_bytes(b"no")
    with pytest.raises(UserError, match="is no run"):
        command.recompute(asked, quiet())
    (tmp_path / PROFILE / "fidelity.json").write_text("{}")
    with pytest.raises(UserError, match="is no comparison"):
        command.read(asked)
    again = command.Options(**{**vars(asked), "fresh": True})
    command.run(again, quiet(), lambda line: None, opened)
    assert Store(folder.parent).runs("poisson-70") == [1]
    longer = options(tmp_path, "poisson-70", seconds=4.0, repeats=2)
    with pytest.raises(UserError, match="made with seconds 3, not 4"):
        command.run(longer, quiet(), lambda line: None, opened)


def test_a_capacity_for_which_nobody_waited_is_told(tmp_path: Path) -> None:
    opened = distorted(Distortion())
    asked = command.Options(PROFILE, ("poisson-40",), 1, 3.0, 1, tmp_path)
    with pytest.raises(UserError, match="too few messages had to wait"):
        command.run(asked, quiet(), lambda line: None, opened)


def test_the_order_of_runs() -> None:
    names = ["mooncake", "poisson-40", "capacity", "azure"]
    order = tasks_of(names, 2)
    assert order[:2] == [Task("capacity", 1), Task("capacity", 2)]
    assert [task.name for task in order[2:]] == [
        "poisson-40", "azure", "poisson-40", "azure", "mooncake", "mooncake",
    ]  # fmt: skip


def test_the_capacity_is_measured_where_it_is_needed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert with_capacity(["poisson-40"], store, None) == ["capacity", "poisson-40"]
    assert with_capacity(["poisson-40"], store, 50.0) == ["poisson-40"]
    assert with_capacity(["azure"], store, None) == ["azure"]


def test_committed_samples_give_the_committed_comparison(tmp_path: Path) -> None:
    """What `fidelity.json` says follows from the samples and the profile beside it."""
    samples = SAMPLES / PROFILE / "fidelity"
    runs = sorted(file.parents[1].name for file in samples.glob("*/run-1/run.json"))
    names = [name for name in runs if (samples / name / "workload.parquet").is_file()]
    if not names:
        pytest.skip("no samples are committed yet")
    for name in names[:1]:
        shutil.copytree(samples / name, tmp_path / PROFILE / "fidelity" / name)
    command.recompute(command.Options(PROFILE, out=tmp_path), quiet())
    found = command.read(command.Options(PROFILE, out=tmp_path))["rows"]
    stated = command.read(command.Options(PROFILE))["rows"]
    for row in found:
        key = ("workload", "metric", "statistic")
        (said,) = (other for other in stated if all(other[k] == row[k] for k in key))
        for figure in ("measured", "simulated", "rel_error"):
            assert row[figure] == pytest.approx(said[figure], rel=1e-9), row
