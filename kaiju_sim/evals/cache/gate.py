"""The cache-hit gate: a change is replayed beside what is served now, tier by tier.

Two rules, each for every tier of characters. A tier must find `evals.cache.least_hit` of its prompt
tokens in the cache: inter-turn reuse counts, so this catches what stands in front of everything.
And first messages of dialogues, which can only hit what users share, must keep `least_shared` of
their present hit rate: this catches a user's name inside the definition, which hurts no later turn.
"""

from collections.abc import Sequence
from typing import Any

from kaiju_sim.errors import UserError
from kaiju_sim.evals.cache.replay import TIERS, Replay, Tally
from kaiju_sim.evals.change import Change, Format, current_format
from kaiju_sim.evals.verdict import Verdict, percent
from kaiju_sim.fleet.setup.build import Plant
from kaiju_sim.scenario.parts.evals import CacheGate

LEAST_TO_SHARE = 0.05
"""First messages that hit less than this now have nothing to lose: the rule on them is not used."""


def cache_gate(now: Plant, then: Plant, change: Change | None) -> Verdict:
    """Replay what is served now and the change (none: only the former), and judge.

    `then` is the plant of the scenario with the change's settings; prompts change by its format.
    """
    before = Replay(now, current_format(now.scenario)).run()
    if change is None:
        return judge(now.scenario.evals.cache, "as served now", None, before)
    fmt = format_of(then, change)
    after = Replay(then, fmt).run()
    return judge(then.scenario.evals.cache, change.name, before, after)


def format_of(plant: Plant, change: Change) -> Format:
    """The prompt under the change."""
    if change.prompt is None:
        return current_format(plant.scenario)
    wanted = any(part.source == "persona" for part in change.prompt)
    if wanted or not plant.scenario.prompt.persona_tokens:
        return change.prompt
    raise UserError(f"{change.name}: its prompt lacks the persona that prompt.persona_tokens has")


def judge(
    gate: CacheGate, subject: str, before: Sequence[Tally] | None, after: Sequence[Tally]
) -> Verdict:
    """The verdict on replays of all tiers."""
    rows, reasons = [], []
    for i, tier in enumerate(TIERS):
        old = before[i] if before else None
        rows.append(row_of(tier, old, after[i]))
        reasons += against(gate, tier, old, after[i])
    rule = f"every tier hits at least {percent(gate.least_hit)} of its prompt tokens"
    if before:
        kept = percent(gate.least_shared)
        rule += f", and its first messages at least {kept} of what they hit now"
    return Verdict("cache", subject, rule, tuple(reasons), {"tiers": rows}, notes_on(gate, after))


def against(gate: CacheGate, tier: str, old: Tally | None, new: Tally) -> list[str]:
    """What speaks against a tier's replay."""
    found = []
    hit = rate(new.hit, new.prompt)
    if hit is None:
        return [f"{tier}: no request was replayed"]
    why = f"; {culprit(old, new)}" if old and culprit(old, new) else ""
    if hit < gate.least_hit:
        was = f" ({percent(rate(old.hit, old.prompt) or 0.0)} now)" if old else ""
        limit = percent(gate.least_hit)
        found.append(f"{tier}: hits {percent(hit)} of prompt tokens{was}, under {limit}{why}")
    if old is None:
        return found
    first, before = rate(new.first_hit, new.first_prompt), rate(old.first_hit, old.first_prompt)
    if first is None or before is None or before < LEAST_TO_SHARE:
        return found
    if first < gate.least_shared * before:
        found.append(f"{tier}: first messages hit {percent(first)}, {percent(before)} now{why}")
    return found


def culprit(old: Tally, new: Tally) -> str | None:
    """The part of the prompt behind which most more tokens are computed than before, in words."""
    more = {part: per(new.lost[part], new) - per(old.lost[part], old) for part in new.lost}
    names = set(old.lost)
    fresh = {part: tokens for part, tokens in more.items() if part not in names}
    part = max(fresh or more, key=lambda p: more[p], default=None)
    if part is None or more[part] <= 0:
        return None
    return f"{part!r} costs {more[part]:,.0f} more tokens a request"


def row_of(tier: str, old: Tally | None, new: Tally) -> dict[str, Any]:
    """One tier's figures."""
    return {
        "tier": tier,
        "requests": new.requests,
        "first_requests": new.first_requests,
        "hit_rate": rate(new.hit, new.prompt),
        "hit_rate_now": rate(old.hit, old.prompt) if old else None,
        "first_hit_rate": rate(new.first_hit, new.first_prompt),
        "first_hit_rate_now": rate(old.first_hit, old.first_prompt) if old else None,
        "without_memory": new.no_memory,
        "computed_tokens_by_part": parts_of(new),
        "computed_tokens_by_part_now": parts_of(old) if old else None,
        "broken_by": culprit(old, new) if old else None,
    }


def parts_of(tally: Tally) -> dict[str, float]:
    """Tokens computed a request, by the part that was new."""
    return {part: per(tokens, tally) for part, tokens in tally.lost.most_common()}


def per(tokens: int, tally: Tally) -> float:
    """Tokens a request."""
    return tokens / max(1, tally.requests)


def rate(part: int, whole: int) -> float | None:
    """A share, or none of nothing."""
    return part / whole if whole else None


def notes_on(gate: CacheGate, tallies: Sequence[Tally]) -> tuple[str, ...]:
    """What limits a replay."""
    short = [t.requests for t in tallies if t.requests < gate.requests]
    if not short:
        return ()
    return (f"a tier had {min(short):,} requests only, not {gate.requests:,}",)
