"""What the tests of the comparison share."""

import pytest

from calibrate.fidelity.workloads import sessions


@pytest.fixture
def few_dialogues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workloads with 250 dialogues under way, not 2,000: less to remember in each run."""
    monkeypatch.setattr(sessions, "DIALOGUES", 250)
