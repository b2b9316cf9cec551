"""Whether an earlier job's samples may be continued on this card.

- The same card with the same software goes on.
- Another card of the same type, or the same one with another driver, other versions or another
  commit, measures the ten anchor steps again: each must agree within 2 % with what was measured
  before, or samples of two speeds would be mixed.
- Another type of GPU is refused.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from calibrate.design.item import StepItem
from calibrate.samples import Store, Visit
from kaiju_sim.errors import UserError

AGREE = 0.02
ANCHORS = 10
"""Steps that are compared; fewer only where the engine cannot hold them all."""
FRESH = "--fresh begins anew"


def must_compare(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs from the earlier session, in words; UserError if it is another type of GPU.

    Both are as `session` makes them.
    """
    was, is_ = earlier["card"], now["card"]
    if was["gpu_name"] != is_["gpu_name"]:
        raise UserError(
            f"the samples are from {was['gpu_name']}, this is {is_['gpu_name']}: another type of "
            f"GPU has a profile of its own (use another --out, or {FRESH})"
        )
    names = {"uuid": "card", "driver": "driver"}
    found = [word for key, word in names.items() if was.get(key) != is_.get(key)]
    found += [key for key in ("versions", "commit") if earlier.get(key) != now.get(key)]
    return found


def session(
    identity: Mapping[str, str], versions: Mapping[str, str], commit: str, begin: str
) -> dict[str, Any]:
    """What one run of the job was on, as `job.json` lists it."""
    return {
        "card": dict(identity),
        "versions": dict(versions),
        "commit": commit,
        "begin": begin,
    }


def compare(
    store: Store, anchors: Sequence[StepItem], again: Mapping[str, Visit]
) -> dict[str, float]:
    """How far each anchor is from before (new / old - 1); UserError if one is too far."""
    missing = [item.id for item in anchors if not store.seconds(item.id)]
    if missing:
        raise UserError(
            f"the earlier job ended before its anchors were measured ({missing[0]} is missing): "
            f"go on with the card it was on, or {FRESH}"
        )
    found = {item.id: _change(store.seconds(item.id), again[item.id].wall_s) for item in anchors}
    far = {key: change for key, change in found.items() if abs(change) > AGREE}
    if far:
        worst = max(far, key=lambda key: abs(far[key]))
        raise UserError(
            f"{len(far)} of {len(found)} anchor steps differ from the earlier samples by over "
            f"{AGREE * 100:.0f} % (worst: {worst} by {far[worst] * 100:+.1f} %): this card or its "
            f"software has another speed; go on with the earlier one, or {FRESH}"
        )
    return found


def _change(before: Sequence[float], now: Sequence[float]) -> float:
    return median(now) / median(before) - 1
