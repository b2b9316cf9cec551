"""How far a study is, in words."""

import pytest

from kaiju_sim.cli.studies import telling
from kaiju_sim.cli.talk import Talk


def test_the_estimate_is_of_the_work_that_is_left() -> None:
    line = telling.line
    assert line("sweep", 50, 200, 0.2, 10.0) == "sweep: 50 of 200, 10 s so far, about 40 s left"
    assert line("sweep", 0, 200, 0.0, 10.0) == "sweep: 0 of 200, 10 s so far"
    assert line("sweep", 1_200, 1_200, 1.0, 99.6) == "sweep: 1,200 of 1,200, 100 s so far"


def test_without_a_terminal_a_line_comes_every_ten_seconds_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: "pytest.CaptureFixture[str]"
) -> None:
    now = [0.0]
    monkeypatch.setattr(telling.time, "monotonic", lambda: now[0])
    with telling.telling(Talk(quiet=False), "sweep", 8) as tell:
        for done in range(1, 9):
            now[0] += 4.0
            tell(done, done / 8)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "sweep: 3 of 8",
        "sweep: 6 of 8",
        "sweep: 8 of 8",
    ]
    assert lines[0].endswith("12 s so far, about 20 s left")


def test_quiet_says_nothing(capsys: "pytest.CaptureFixture[str]") -> None:
    with telling.telling(Talk(quiet=True), "sweep", 1) as tell:
        tell(1, 1.0)
    assert capsys.readouterr().err == ""
