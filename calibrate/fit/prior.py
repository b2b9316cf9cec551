"""The shape of each curve as operators measured on their own have it: a weak prior.

An operator alone finds other caches and clocks than within a step, so only the shape is used: it is
one column beside others, with a weight of its own.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from calibrate.fit.basis import Basis, Floats
from calibrate.fit.features import CURVES, Card, features_of
from calibrate.fit.read import Call
from calibrate.shapes import Chunk, StepShape
from kaiju_sim.catalog.models import Model

LEAST_POINTS = 3


def calls_in_step(model: Model) -> dict[str, tuple[str, int]]:
    """The curve that an operator belongs to, and how often a step calls it."""
    layers, owners = model.layers, model.kv_owners
    rows = {"embedding": 1, "norm": 2 * layers, "qkv": owners, "q": layers - owners}
    rows |= dict.fromkeys(("rotary", "o", "up", "down"), layers)
    found = {name: ("rows", count) for name, count in rows.items()}
    found |= dict.fromkeys(("head", "sampling"), ("seqs", 1))
    for kind in ("decode", "prefill"):
        found[f"{kind}_global"] = (f"{kind}_global", model.global_layers)
        found[f"{kind}_local"] = (f"{kind}_local", model.local_layers)
    return found


def prior_rises(calls: Sequence[Call], model: Model, basis: Basis, card: Card) -> Floats | None:
    """Rises at the basis' knots of what a step's calls take together; None if too few are known."""
    total = np.zeros(len(basis.knots))
    points: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    counts = calls_in_step(model)
    for call in calls:
        curve, count = counts.get(call.operator, ("", 0))
        if curve == basis.name and count > 0:
            points[call.operator][_x(call.shape, curve, card)].append(count * call.seconds)
    known = [found for found in points.values() if len(found) >= LEAST_POINTS]
    for found in known:
        x = np.array(sorted(found))
        seconds = np.array([float(np.median(found[i])) for i in x])
        total += np.interp(basis.knots, x, np.maximum.accumulate(seconds))
    return np.diff(total, prepend=0.0) if known else None


def _x(shape: Mapping[str, int], curve: str, card: Card) -> int:
    """Where on its curve an operator's size lies."""
    if curve in ("rows", "seqs"):
        return shape[curve]
    if curve.startswith("decode"):
        step = StepShape((shape["context"],) * shape["batch"])
    else:
        step = StepShape((), (Chunk(shape["new"], shape["cached"]),))
    return int(features_of([step], card)[0, CURVES.index(curve)])
