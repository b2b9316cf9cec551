"""What the card says, from readings that a feed gives."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from calibrate.gpu.card import Reading, SmiFeed, Watch, open_feed, parsed, summary

FAST = Reading(1980.0, 2619.0, 300.0, 50.0, 0)
HOT = Reading(1500.0, 2619.0, 700.0, 80.0, 0x4 | 0x20)


class Handed:
    """A feed that gives what it is handed, when it is."""

    def __init__(self) -> None:
        self._waiting: list[Reading | None] = []
        self._more = threading.Semaphore(0)
        self._given = threading.Semaphore(0)

    def hand(self, reading: Reading) -> None:
        self._waiting.append(reading)
        self._more.release()
        assert self._given.acquire(timeout=10)

    def __iter__(self) -> Iterator[Reading]:
        while self._more.acquire() and (reading := self._waiting.pop(0)) is not None:
            yield reading
            self._given.release()  # it has been taken when the next one is asked for

    def close(self) -> None:
        self._waiting.append(None)
        self._more.release()


def test_a_line_of_nvidia_smi() -> None:
    assert parsed("1980, 2619, 123.45, 41, 0x0000000000000004\n") == (1980, 2619, 123.45, 41, 4)
    assert parsed("1980, 2619, [N/A], 41, [N/A]") == (1980, 2619, None, 41, None)
    assert parsed("No devices were found") is None


def test_reasons_add_up_and_the_rest_is_a_median() -> None:
    said = summary([FAST, FAST, HOT])
    assert said == {
        "sm_mhz": 1980.0, "memory_mhz": 2619.0, "watts": 300.0, "temperature_c": 50.0,
        "slowed_by": "power cap, thermal (software)",
    }  # fmt: skip
    assert summary([FAST])["slowed_by"] == ""
    assert set(summary([]).values()) == {None}


def test_each_question_is_about_the_time_since_the_last() -> None:
    feed = Handed()
    watch = Watch(feed)
    assert watch.since_last()["sm_mhz"] is None
    for reading in (HOT, FAST, FAST):
        feed.hand(reading)
    assert watch.since_last()["slowed_by"] == "power cap, thermal (software)"
    assert watch.since_last() == summary([FAST]), "nothing new: as it was last"
    watch.close()
    assert not watch._thread.is_alive()


def test_nvidia_smi_is_ended(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nwhile :; do echo '1980, 2619, 300, 50, 0x4'; sleep 0.02; done\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    feed = SmiFeed("GPU-1")
    assert next(iter(feed)) == (1980, 2619, 300, 50, 4)
    feed.close()
    assert feed._child.returncode is not None


def test_a_machine_without_a_card_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert open_feed("GPU-none") is None
    watch = Watch(None)
    assert watch.since_last()["watts"] is None
    watch.close()
