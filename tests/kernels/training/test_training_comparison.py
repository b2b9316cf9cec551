"""Comparisons of the demo: what is done is kept, in a fixed order, however many run at once."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kernels.training.demo import __main__ as command
from kernels.training.demo import plots
from kernels.training.demo.comparison import run as runs
from kernels.training.demo.comparison.arms import NAMES, SCRATCH, STUDENT, chosen
from kernels.training.demo.comparison.results import FILE, summary
from kernels.training.demo.comparison.run import compare, units
from kernels.training.demo.comparison.units import Done, Failed, Outcome, Setting, Unit, attempt
from kernels.training.demo.comparison.workers import ended
from kernels.training.demo.options import Options

ARMS = ["distillation", "bf16, squinch"]
TIMES = ("seconds", "step_ms", "speed", "jobs")


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """Two steps on a short text, which other processes find, too."""
    text = tmp_path / "text"
    text.write_bytes(bytes(range(32, 127)) * 20)
    base = Options(steps=2, evaluate_every=1, corpus=str(text))
    return Setting(base, tmp_path / "compared", "cpu", k=4)


def quiet(line: str) -> None:
    """Says nothing."""


def without_times(found: Any) -> Any:
    """The same, less what a clock said."""
    if isinstance(found, dict):
        return {k: without_times(v) for k, v in found.items() if k not in TIMES}
    return [without_times(each) for each in found] if isinstance(found, list) else found


def test_what_is_done_is_not_done_again(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    found, failed = compare(setting, [0], quiet, arms=ARMS)
    assert list(found["arms"]) == ["bf16", SCRATCH, STUDENT, "bf16, squinch"]
    assert not failed
    assert abs(found["arms"]["bf16, squinch"]["loss_gap"]) < 0.05
    assert set(plots.drawings(found["outcomes"])) == {"distillation"}
    written = json.loads((setting.folder / FILE).read_text())
    assert written == found
    trained = []

    def counted(wanted: list[Unit], *rest: Any) -> Any:
        trained.extend(wanted)
        return ended(wanted, *rest)

    monkeypatch.setattr(runs, "ended", counted)
    more, _ = compare(setting, [0, 1], quiet, arms=["bf16, squinch"])
    assert trained == [Unit(1, "bf16, squinch")]
    assert [(o["seed"], o["arm"]) for o in more["outcomes"]] == [
        (0, "bf16"), (0, SCRATCH), (0, STUDENT), (0, "bf16, squinch"), (1, "bf16, squinch"),
    ]  # fmt: skip
    assert more["outcomes"][:4] == found["outcomes"]
    assert more["distillation"] == found["distillation"]
    with pytest.raises(ValueError, match="begin anew with --fresh"):
        compare(setting._replace(base=Options(steps=3)), [0], quiet, arms=ARMS)
    again, _ = compare(setting, [0], quiet, arms=["bf16, squinch"], fresh=True)
    assert trained[1:] == [Unit(0, "bf16, squinch")]
    assert without_times(again["outcomes"]) == without_times(found["outcomes"][3:])


def test_the_file_is_the_same_however_many_run_at_once(setting: Setting) -> None:
    alone, _ = compare(setting, [0, 1], quiet, arms=ARMS)
    said: list[str] = []
    several = setting._replace(jobs=2, folder=setting.folder.with_name("several"))
    together, failed = compare(several, [0, 1], said.append, arms=ARMS)
    assert not failed
    assert without_times(together) == without_times(alone)
    assert (alone["jobs"], together["jobs"]) == (1, 2)
    assert "speed" in alone["arms"]["bf16"]
    assert not {"speed", "step_ms"} & set(together["arms"]["bf16"])
    assert any(line.startswith("[bf16, squinch, seed 1] step 2/2") for line in said)


class Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> Any:
        return os._exit, (7,)


def test_a_unit_that_fails_is_told_and_the_others_are_kept(setting: Setting) -> None:
    bad, good = Unit(0, "no such arm"), Unit(0, "bf16")
    deadly = Unit(0, Deadly())  # type: ignore[arg-type]
    found = list(ended([bad, deadly, good], setting._replace(jobs=2), quiet))
    done = [each for each in found if isinstance(each, Done)]
    assert [each.unit for each in done] == [good]
    errors = {each.error for each in found if isinstance(each, Failed)}
    assert errors == {"KeyError: 'no such arm'", "its process ended with exit code 7"}


def test_failures_and_interrupts_have_exit_codes(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "--device", "cpu", "--steps", "2", "--evaluate-every", "1", "--out",
             str(setting.folder), "--corpus", setting.base.corpus, "--seed", "5", "--seeds", "2",
             "--arms", "bf16; int8"]  # fmt: skip

    def some(wanted: list[Unit], given: Setting, say: Any) -> Any:
        yield Failed(wanted[0], "no luck")
        yield attempt(wanted[1], given, say)

    monkeypatch.setattr(runs, "ended", some)
    assert command.main(words) == 1
    told = capsys.readouterr()
    assert "failed: bf16, seed 5: no luck" in told.err
    assert told.out.startswith("int8 ")
    written = json.loads((setting.folder / FILE).read_text())
    assert [(o["seed"], o["arm"]) for o in written["outcomes"]] == [(5, "int8")]

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "ended", interrupted)
    assert command.main(words) == 130
    assert command.main([*words, "--jobs", "0"]) == 2
    assert "jobs: 0" in capsys.readouterr().err


def test_arms_have_an_order_of_their_own() -> None:
    assert chosen(None) == list(NAMES)
    assert chosen(["int8", "bf16"]) == ["bf16", "int8"]
    with pytest.raises(ValueError, match="arms: "):
        chosen(["int4"])
    assert units(["distillation"], [3]) == [Unit(3, "bf16", teaches=True)]


def test_speed_is_told_of_runs_that_had_the_device_for_themselves() -> None:
    def run(arm: str, held_out: float, step_ms: float, jobs: int) -> Outcome:
        return Outcome(arm, 0, held_out, step_ms, [], {}, jobs)

    alone = summary([run("bf16", 2.0, 10.0, 1), run("int8", 2.1, 8.0, 1)])
    assert alone["int8"]["speed"] == 1.25
    assert alone["int8"]["loss_gap"] == pytest.approx(0.05)
    assert "speed" not in summary([run("bf16", 2.0, 10.0, 1), run("int8", 2.1, 8.0, 2)])["int8"]
