"""From a profile's points to step-time curves, and from the roofline to a profile.

Between points times are linear in x (never in log x). Below the first point the first time is held
(a kernel has a floor), but x = 0 takes no time. Above the last point the line through it and the
last point at or below half its x goes on, never falling: without limit for attention, which is
linear there, and up to REACH times the last x for rows and sequences; asking for more is an error.
"""

import numpy as np
from numpy.typing import NDArray

from kaiju_sim.errors import UserError
from kaiju_sim.steptime.curves import (
    DECODE_EACH,
    DECODE_GLOBAL,
    DECODE_LOCAL,
    OPERATORS,
    PREFILL_GLOBAL,
    PREFILL_LOCAL,
    Curves,
    curve_ns,
)
from kaiju_sim.steptime.grid import Floats, lines_on_grid
from kaiju_sim.steptime.part import EngineHost
from kaiju_sim.steptime.profile import (
    FORMAT,
    VERSION,
    OperatorCurves,
    Points,
    Profile,
)
from kaiju_sim.steptime.roofline import NS, Rank, roofline_curves

REACH = 8
"""Rows and sequences are extrapolated to this multiple of the last measured x: matrix products of
thousands of rows are linear in them."""


def interpolate_s(points: Points, x: Floats) -> Floats:
    """Seconds at each x by the rules above."""
    known_x = np.asarray(points.x, dtype=np.float64)
    known_s = np.asarray(points.seconds, dtype=np.float64)
    inside = np.interp(x, known_x, known_s)
    beyond = known_s[-1] + _last_slope(known_x, known_s) * (x - known_x[-1])
    return np.where(x <= 0, 0.0, np.where(x > known_x[-1], beyond, inside))


def _last_slope(x: Floats, seconds: Floats) -> float:
    base = max(int(np.searchsorted(x, x[-1] / 2, side="right")) - 1, 0)
    return max(float((seconds[-1] - seconds[base]) / (x[-1] - x[base])), 0.0)


def curves_from_profile(profile: Profile, max_rows: int, max_seqs: int) -> Curves:
    """Curves of a profile, with tables up to *max_rows* and *max_seqs* (UserError beyond reach).

    The serving engine's own time is in them, where the profile has it.
    """
    by_name = profile.curves
    context = (
        by_name.decode_global,
        by_name.decode_local,
        by_name.prefill_global,
        by_name.prefill_local,
        by_name.decode_each,
    )
    lines = [_lines(points) for points in context]
    measured = Curves(
        kind=OPERATORS,
        mean_ns=0.0,
        host_ns=profile.host_overhead_s * NS,
        rows_ns=_table(profile.id, "rows", by_name.rows, max_rows),
        seqs_ns=_table(profile.id, "seqs", by_name.seqs, max_seqs),
        slope=np.stack([slope for slope, _ in lines]),
        offset=np.stack([offset for _, offset in lines]),
        rounds=np.array([profile.prefill_round_tokens], np.int64),
        each=max(by_name.decode_each.seconds) > 0,
    )
    engine = profile.engine_host
    return measured if engine is None else _with_engine(measured, engine)


def _with_engine(curves: Curves, engine: EngineHost) -> Curves:
    """The curves with what the engine takes. Whatever prompts a step has, they attend to at least
    a pair, so what only steps with prompts take is part of that curve, from its first pair on."""
    offset = curves.offset.copy()
    offset[PREFILL_GLOBAL] += engine.prefill_s * NS
    return curves._replace(
        host_ns=curves.host_ns + engine.step_s * NS,
        seqs_ns=curves.seqs_ns + engine.seq_s * NS * np.arange(curves.seqs_ns.size),
        offset=offset,
        engine=np.array(_of_engine(engine)) * NS,
    )


def _of_engine(engine: EngineHost) -> tuple[float, ...]:
    """In the order of `Curves.engine`."""
    return engine.prompt_s, engine.after_s, engine.after_seq_s, engine.after_prompt_s


def _lines(points: Points) -> tuple[Floats, Floats]:
    return lines_on_grid(lambda x: interpolate_s(points, x) * NS)


def _table(profile_id: str, name: str, points: Points, last: int) -> Floats:
    reach = REACH * points.x[-1]
    if last > reach:
        needs = {"rows": "engine.token_budget + engine.max_seqs", "seqs": "engine.max_seqs"}[name]
        raise UserError(
            f"profile {profile_id}: curves.{name} reaches to {reach} "
            f"({REACH} times its last point), but {needs} is {last}; "
            "steptime.kind roofline has no end"
        )
    return interpolate_s(points, np.arange(last + 1, dtype=np.float64)) * NS


def profile_from_roofline(
    rank: Rank, host_overhead_s: float, max_rows: int, max_seqs: int, max_context: int
) -> Profile:
    """The roofline as a profile file would hold it: for tests and as an example of the format."""
    curves = roofline_curves(rank, host_overhead_s, max_rows, max_seqs)
    pairs = max_rows * max_context
    return Profile(
        format=FORMAT,
        version=VERSION,
        id=f"roofline-{rank.gpu.name}-{rank.model.name}-tp{rank.tensor_parallel}".lower(),
        source="roofline",
        gpu=rank.gpu.name,
        model=rank.model.name,
        tensor_parallel=rank.tensor_parallel,
        provenance=None,
        curves=OperatorCurves(
            rows=_sampled(curves.rows_ns),
            seqs=_sampled(curves.seqs_ns),
            decode_global=_context_points(curves, DECODE_GLOBAL, max_seqs * max_context),
            decode_local=_context_points(curves, DECODE_LOCAL, max_seqs * max_context),
            prefill_global=_context_points(curves, PREFILL_GLOBAL, pairs),
            prefill_local=_context_points(curves, PREFILL_LOCAL, pairs),
            decode_each=_context_points(curves, DECODE_EACH, max_context),
        ),
        prefill_round_tokens=0,
        host_overhead_s=host_overhead_s,
        kv_blocks=None,
        heldout=None,
        heldout_by_kind={},
        residual=None,
    )


def _spaced(last: int, dense: int) -> list[int]:
    """1, 2 ... dense, then about 16 points an octave, up to *last*."""
    octaves = np.arange(0, 16 * np.log2(max(last, 2)) + 1) / 16
    spaced = {int(x) for x in np.exp2(octaves)} | set(range(1, dense + 1)) | {last}
    return sorted(x for x in spaced if 1 <= x <= last)


def _sampled(table_ns: NDArray[np.float64]) -> Points:
    x = _spaced(len(table_ns) - 1, 64)
    return Points(x=tuple(x), seconds=tuple(float(table_ns[i]) / NS for i in x))


def _context_points(curves: Curves, which: int, last: int) -> Points:
    x = _spaced(last, 1)
    return Points(x=tuple(x), seconds=tuple(curve_ns(curves, which, i) / NS for i in x))
