"""What a gate says: passed or blocked, why, and the figures behind it."""

from dataclasses import dataclass, field
from typing import Any


def percent(share: float) -> str:
    """A share for people."""
    return f"{share * 100:.1f} %"


@dataclass(frozen=True)
class Verdict:
    """The outcome of a gate, ready for JSON."""

    gate: str
    subject: str
    """What was to pass."""
    rule: str
    """What it takes to pass, in words with numbers."""
    reasons: tuple[str, ...]
    """What it was blocked for; empty: it passed."""
    figures: dict[str, Any]
    """Everything measured, each gate's own (docs/evals.md)."""
    notes: tuple[str, ...] = field(default=())
    """What a reader should know before believing it."""

    @property
    def passed(self) -> bool:
        """Whether nothing stands against it."""
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        """All of it, as plain values."""
        return {
            "gate": self.gate,
            "subject": self.subject,
            "passed": self.passed,
            "rule": self.rule,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            **self.figures,
        }
