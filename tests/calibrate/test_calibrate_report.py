"""The report on samples of an engine whose times are known: tables, pages, drawings, command."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from synthetic_engine import job, planned, write_samples

from calibrate.__main__ import main
from calibrate.fit.read import Call
from calibrate.report.breakdown import step_lines
from calibrate.report.collect import collect, measured_names
from calibrate.report.floors import parts_of
from calibrate.report.heldout import BOUNDS
from calibrate.report.operators import Times
from calibrate.report.show import page, plots, tables
from calibrate.report.steps import Measured, shown_steps, step_name, words
from calibrate.shapes import Chunk, StepShape
from kaiju_sim.catalog.models import find_model
from kaiju_sim.errors import UserError

ID = "h100-80gb-kaiju-13b-tp1"
KAIJU = find_model("kaiju-13b")
SHOWN = ("anchor", "aim", "edge", "mixed/00", "heldout/00")
DONE = {"complete": True, "done": {"heldout": 10}, "heldout_least": 10}


def write(out: Path, name: str = ID, **fields: Any) -> Path:
    """A folder of samples that may be fitted."""
    folder = write_samples(out / name, planned(*SHOWN))
    (folder / "job.json").write_text(json.dumps(job() | DONE | fields))
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model and a variant that decodes half as many at a time."""
    where: Path = tmp_path_factory.mktemp("samples")
    write(where)
    variant = write_samples(where / "h100-80gb-kaiju-13b-mha-tp1", planned("aim/b64/"))
    (variant / "job.json").write_text(json.dumps(job() | {"variant": "mha"}))
    return where


@pytest.fixture(scope="module")
def report(out: Path) -> dict[str, Any]:
    return collect([ID], out)


@pytest.fixture
def profile(report: dict[str, Any]) -> dict[str, Any]:
    (found,) = report["profiles"]
    return dict(found)


def step(profile: Mapping[str, Any], name: str) -> dict[str, Any]:
    (found,) = (line for line in profile["steps"] if line["step"] == name)
    return dict(found)


def every_call(shapes: list[StepShape], seconds: float) -> list[Call]:
    """Each operator of these steps, measured at their sizes, all alike."""
    found = []
    for shape in shapes:
        for part in parts_of(KAIJU, shape):
            found.append(Call(part.operator, size_of(part.operator, shape), seconds))
    return found


def size_of(operator: str, shape: StepShape) -> dict[str, int]:
    if operator in ("head", "sampling"):
        return {"seqs": max(16, shape.seqs)}
    if "decode" in operator:
        context = shape.decodes[0]
        context = min(context, 1024) if operator.endswith("local") else context
        return {"batch": len(shape.decodes), "context": context}
    if "prefill" in operator:
        return {"new": shape.chunks[0].new, "cached": shape.chunks[0].cached}
    return {"rows": shape.rows}


def test_only_equal_decodes_at_4k_and_whole_prompts_are_shown() -> None:
    assert step_name(StepShape((4096,) * 8)) == "b8"
    assert step_name(StepShape((), (Chunk(4096, 0),))) == "n4096"
    others = [
        StepShape((4096, 4095)),
        StepShape((4096,) * 8, (), 4, 1024),
        StepShape((4096,), (Chunk(512, 0),)),
        StepShape((), (Chunk(512, 0, last=False),)),
        StepShape((), (Chunk(512, 128),)),
        StepShape((), (Chunk(512, 0), Chunk(512, 0))),
        StepShape((), (Chunk(100, 0),)),
        StepShape(),
    ]
    assert [step_name(shape) for shape in others] == [""] * len(others)


def test_repetitions_of_a_shape_in_two_sets_are_one_step(out: Path) -> None:
    found = {measured.name: measured for measured in shown_steps(out / ID)}
    assert found["b64"].repetitions == 18, "an aim is an anchor, too"
    assert found["n4096"].repetitions == 9
    assert list(found)[-1] == "n4096"
    assert words("b64") == "decode 64 x 4096"


def test_a_step_is_beside_its_floor_and_what_is_required(profile: dict[str, Any]) -> None:
    b64, b256, n4096 = (step(profile, name) for name in ("b64", "b256", "n4096"))
    assert b64["ratio"] == pytest.approx(b64["wall_ms"] / b64["floor_ms"])
    assert b64["gpu_ratio"] < b64["ratio"]
    assert (b64["required"], b256["required"], n4096["required"]) == (1.45, 1.40, 1.25)
    assert (b64["reached"], n4096["reached"]) == (False, True)
    assert step(profile, "n2048")["reached"] is None


def test_nothing_is_required_of_a_variant_or_another_model() -> None:
    times = Times([], KAIJU, 1)
    measured = [Measured("b64", StepShape((4096,) * 64), 0.01, 0.009, 5)]
    for fields in ({"variant": "mha"}, {"model": "kaiju-34b"}, {"tensor_parallel": 2}):
        (line,) = step_lines(measured, KAIJU, times, job() | fields)
        assert (line["required"], line["reached"]) == (None, None)


def test_a_step_is_the_sum_of_its_operators_and_the_remainders() -> None:
    shape = StepShape((4096,) * 64)
    times = Times(every_call([shape], 1e-5), KAIJU, 1)
    (line,) = step_lines([Measured("b64", shape, 0.01, 0.009, 5)], KAIJU, times, job())
    count = sum(part["count"] for part in line["operators"])
    assert sum(part["measured_ms"] for part in line["operators"]) == pytest.approx(count * 1e-2)
    assert line["gaps_ms"] == pytest.approx(9.0 - count * 1e-2)
    assert line["host_ms"] == pytest.approx(1.0)
    shares = sum(part["share"] for part in line["operators"])
    assert shares + line["gaps_share"] + line["host_share"] == pytest.approx(1.0)
    for part in line["operators"]:
        assert part["over_ms"] == pytest.approx(part["measured_ms"] - part["floor_ms"])


def test_without_an_operator_there_is_no_remainder(profile: dict[str, Any]) -> None:
    found = step(profile, "b64")
    assert {"norm", "decode_global", "head"} <= set(found["not_measured"])
    assert found["gaps_ms"] is None
    assert "so there is no remainder" in tables.operator_table(found).note


def test_operators_are_on_straight_lines_between_sizes() -> None:
    sizes = {(16, 1024): 1.0, (16, 4096): 3.0, (64, 1024): 2.0, (64, 8192): 9.0}
    calls = [Call("decode_global", {"batch": b, "context": c}, s) for (b, c), s in sizes.items()]
    calls += [Call("up", {"rows": rows}, float(rows)) for rows in (32, 64)]
    times = Times(calls, KAIJU, 1)
    assert times.seconds("decode_global", StepShape((4096,) * 16)) == 3.0
    assert times.seconds("decode_global", StepShape((4096,) * 64)) == pytest.approx(5.0)
    assert times.seconds("decode_global", StepShape((4096,) * 40)) == pytest.approx(4.0)
    assert times.seconds("decode_global", StepShape((64,) * 4)) == 1.0
    assert times.seconds("up", StepShape((9,) * 33)) == 64.0, "padded to 64 rows"
    assert times.seconds("up", StepShape((9,))) == 32.0
    assert times.seconds("down", StepShape((9,))) is None


def test_above_the_largest_size_an_operator_grows_as_its_floor() -> None:
    calls = [
        Call("prefill_global", {"new": 2048, "cached": 0}, 1.0),
        Call("up", {"rows": 2048}, 1.0),
    ]
    times, whole = Times(calls, KAIJU, 1), StepShape((), (Chunk(4096, 0),))
    assert times.seconds("prefill_global", whole) == pytest.approx(4.0, rel=0.01)
    assert times.seconds("up", whole) == pytest.approx(2.0, rel=0.01)


def test_local_attention_is_looked_up_at_its_window() -> None:
    sizes = {256: 1.0, 1024: 2.0, 4096: 2.5}
    calls = [Call("decode_local", {"batch": 8, "context": c}, s) for c, s in sizes.items()]
    assert Times(calls, KAIJU, 1).seconds("decode_local", StepShape((4096,) * 8)) == 2.0


def test_held_out_errors_are_the_fits_own(profile: dict[str, Any]) -> None:
    found = profile["heldout"]
    errors = [line["error"] for line in found["steps"]]
    assert (found["n"], len(errors)) == (10, 10)
    assert found["bias"] == pytest.approx(sum(errors) / 10, abs=1e-6)
    assert [abs(e) for e in errors] == sorted((abs(e) for e in errors), reverse=True)
    assert sum(kind["n"] for kind in found["by_kind"].values()) == 10
    assert found["within"] == all(abs(found[name]) <= bound for name, bound in BOUNDS.items())


def test_a_variant_is_worth_its_tokens(profile: dict[str, Any]) -> None:
    base, mha = profile["worth"]
    assert (base["variant"], base["batch"], base["worth"]) == (None, 256, 1.0)
    assert (mha["variant"], mha["batch"], mha["step_ms_at_64"]) == ("mha", 64, mha["step_ms"])
    assert base["step_ms_at_64"] == step(profile, "b64")["wall_ms"]
    assert base["tokens_per_s_per_gpu"] == pytest.approx(256e3 / base["step_ms"])
    gain = (256 / base["step_ms"]) / (64 / mha["step_ms"])
    assert mha["worth"] == pytest.approx(gain)
    assert mha["kv_mb_per_sequence"] == pytest.approx(64 * base["kv_mb_per_sequence"])
    assert base["kv_mb_per_sequence"] == (4 * 4096 + 16 * 1024) * 256 / 1e6


def test_without_a_profile_it_says_why(tmp_path: Path) -> None:
    write(tmp_path, complete=False)
    (found,) = collect([ID], tmp_path)["profiles"]
    assert found["heldout"] is None
    assert "the job is not complete" in tables.head(found)
    assert len(list(tables.tables_of(found))) >= 3


def test_variants_are_reported_by_name_only(out: Path) -> None:
    assert measured_names(out) == [ID]
    (found,) = collect(["h100-80gb-kaiju-13b-mha-tp1"], out)["profiles"]
    assert (found["variant"], found["worth"]) == ("mha", [])


def test_tables_are_whole_in_both_forms(profile: dict[str, Any]) -> None:
    for table in tables.tables_of(profile):
        assert {len(line) for line in table.lines} == {len(table.heads)}
        rows = [line for line in tables.markdown(table).splitlines() if line.startswith("|")]
        assert {line.count("|") for line in rows} == {len(table.heads) + 1}
        assert len(rows) == len(table.lines) + 2
        assert len(tables.plain(table).splitlines()) >= len(table.lines) + 2


def test_drawings_have_a_mark_for_each_step(profile: dict[str, Any]) -> None:
    svg = "{http://www.w3.org/2000/svg}"
    drawn = {name: ElementTree.fromstring(text) for name, text in plots.drawings(profile).items()}
    kinds = [drawn[f"{kind}-{ID}.svg"].findall(f"{svg}rect") for kind in ("decode", "prefill")]
    dots = drawn[f"heldout-{ID}.svg"].findall(f"{svg}circle")
    assert sum(map(len, kinds)) == 2 + 2 * len(profile["steps"])
    assert len(dots) == 10


def test_a_page_is_filled_between_its_marks_and_again_the_same(
    tmp_path: Path, report: dict[str, Any]
) -> None:
    file = tmp_path / "steps.md"
    texts = [f"{''.join(page.marks(name))}" for name in (page.WORTH, page.FIGURES)]
    file.write_text(f"before\n{texts[0]}between\n{texts[1]}after\n")
    written = page.fill(file, report)
    first = file.read_text()
    page.fill(file, report)
    assert file.read_text() == first
    assert first.startswith("before\n")
    assert first.endswith("after\n")
    assert first.count("| mha | MQA") == 2
    links = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", first)
    assert [file.parent / link for link in links] == written[:-1]
    assert all((tmp_path / link).is_file() for link in links)


def test_a_page_with_one_mark_gets_that_part_and_no_drawings(
    tmp_path: Path, report: dict[str, Any]
) -> None:
    file = tmp_path / "README.md"
    file.write_text("".join(page.marks(page.WORTH)))
    assert page.fill(file, report) == [file]
    assert "as designed" in file.read_text()
    assert "floor" not in file.read_text()


def test_a_page_without_marks_is_an_error(tmp_path: Path, report: dict[str, Any]) -> None:
    file = tmp_path / "steps.md"
    with pytest.raises(UserError, match="cannot be read"):
        page.fill(file, report)
    file.write_text("nothing")
    with pytest.raises(UserError, match="has no place for figures"):
        page.fill(file, report)


def test_the_command_prints_three_forms(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--out", str(out)]) == 0
    assert "Steps against their floors\n" in capsys.readouterr().out
    assert main(["report", ID, "--out", str(out), "--format", "markdown"]) == 0
    assert "#### Steps against their floors\n" in capsys.readouterr().out
    assert main(["report", ID, "--out", str(out), "--format", "json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["profiles"]
    assert found["id"] == ID


@pytest.mark.parametrize(
    ("words", "complaint"),
    [(["nobody-tp1"], "there are no samples in"), (["--format", "yaml"], "--format")],
)
def test_mistakes_of_the_command(
    words: list[str], complaint: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *words, "--out", str(out)]) == 2
    assert complaint in capsys.readouterr().err


def test_a_folder_without_samples_is_an_error(tmp_path: Path) -> None:
    assert main(["report", "--out", str(tmp_path)]) == 2
