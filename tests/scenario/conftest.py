"""A way to write scenario files."""

from pathlib import Path

import pytest
from scenario_texts import VALID, Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a text (default: the valid one, with *old* replaced by *new*) to a file."""

    def written(text: str = VALID, old: str = "", new: str = "", name: str = "s.yaml") -> Path:
        assert old in text
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(old, new, 1) if old else text + new, encoding="utf-8")
        return path

    return written
