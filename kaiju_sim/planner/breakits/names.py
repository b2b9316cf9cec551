"""The break-its: named overrides of a scenario, and what each is held against."""

from collections.abc import Sequence
from dataclasses import dataclass

BASELINE = "baseline"
"""The scenario as shipped."""


@dataclass(frozen=True)
class BreakIt:
    """One choice of a design taken back."""

    name: str
    """Name of the override."""
    says: str
    """What it does."""
    against: str = BASELINE
    """What it is held against: the scenario as shipped, or with another override."""


REFERENCES = (
    BreakIt(BASELINE, "as shipped"),
    BreakIt("edits", "characters are edited, dialogues keep the version they began with"),
    BreakIt("gate", "a safety gate before the model"),
)
"""Rows that break-its are held against."""

BREAK_ITS = (
    BreakIt("no-mqa", "a KV head for each query head (MHA)"),
    BreakIt("no-int8-kv", "fp16 KV and attention"),
    BreakIt("no-window", "every layer attends to the whole context"),
    BreakIt("no-kv-sharing", "every layer stores KV of its own"),
    BreakIt("no-version-pinning", "edits act at once in live dialogues", "edits"),
    BreakIt("no-pre-gate", "messages are judged only after the model has answered", "gate"),
    BreakIt("no-affinity", "messages go round the replicas"),
    BreakIt("no-inter-turn-cache", "a dialogue's own KV is not kept between its turns"),
    BreakIt("tight-ttft", "the first token within 800 ms"),
    BreakIt("beam-3", "three candidates, scored every 16 tokens"),
)


def chosen(names: Sequence[str], only: Sequence[str]) -> list[BreakIt]:
    """The rows for a scenario that has overrides of these names: what they are held against first.

    *only* (if any) restricts the break-its.
    """
    mine = [b for b in BREAK_ITS if b.name in names and (not only or b.name in only)]
    wanted = {BASELINE, *(b.against for b in mine)}
    return [r for r in REFERENCES if r.name in wanted and r.name in (BASELINE, *names)] + mine
