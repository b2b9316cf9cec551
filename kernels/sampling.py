"""The next token of each sequence: greedy, or drawn at a temperature within top-k and top-p.

Tokens are ordered by logit, highest first, ties by lower id. Top-k comes first: the top_k first
tokens stay. Then top-p: a token is kept if those that precede it hold less than top_p of the mass
of what stayed, at the row's temperature: the smallest set of likeliest tokens whose mass reaches
top_p of it. The likeliest token is always kept. (Hugging Face and vLLM define both so.)

No sort. A draw from a larger set is a draw from the kept tokens if it falls on one. So: draw a
token, sum the mass that precedes it in one pass, accept it if it is kept; else draw again among the
tokens that precede it. Every kept token precedes every rejected one, so this is exactly the
distribution restricted to the kept tokens, and the expected number of passes is at most 1 / top_p.
With top-k the first draw is from the top_k first tokens (and those as likely as the last of them):
`kth_logit` searches for where they end, and their mass is what top-p is a share of.

Round r of step s takes one 53-bit uniform number from Philox4x32-10 with key `seed` and counter
(s, r, 0, 0): a result depends on (seed, step) and the row's own logits and options, not on its
place in the batch. The drawn token is the first, in order of id, at which the cumulative mass
exceeds number * mass. Sums have a fixed order: same inputs, same tokens.

Two launches, nothing read by the host. `_segment_sums` cuts the vocabulary into segments of 1024
and writes each one's maximum and mass; it reads all logits, and is the only pass that greedy rows
and rows without limits need. `_draw` runs one program a row.
"""

import math

import torch
import triton
import triton.language as tl

from kernels.common import checks
from kernels.common.device import Work
from kernels.common.draws import kth_logit, mass_before, pick, uniform, uniform_number, weight

SEGMENT = 1024
SUMS = (4, 4)  # segments a tile, and warps, of the pass over the whole vocabulary
MAX_ROUNDS = 64  # Never reached: each round keeps a uniform share of the mass, at least top_p.


def kept(
    logits: torch.Tensor, temperature: float, top_p: float = 1.0, top_k: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One row, in float64: the order of its tokens (ids), the probability of each token in that
    order before limits, and whether it is kept."""
    x = logits.double()
    order = torch.sort(x, descending=True, stable=True).indices
    mass = torch.exp((x[order] - x.max()) / temperature)
    mass /= mass.sum()
    stays = min(top_k, len(x)) if top_k > 0 else len(x)
    keep = mass.cumsum(0) - mass < top_p * mass[:stays].sum()
    keep[stays:] = False
    keep[0] = True
    return order, mass, keep


def reference(
    logits: torch.Tensor, seed: int, step: int, temperature: float, top_p: float = 1.0,
    top_k: int = 0,
) -> tuple[int, float]:  # fmt: skip
    """The specification for one row, in float64, with the kernel's random numbers: the token, and
    how near (in mass) the deciding sums came to deciding otherwise."""
    order, mass, keep = kept(logits, temperature or 1.0, top_p, top_k)
    if temperature <= 0:
        return int(order[0]), 1.0
    rank = torch.argsort(order)
    left, share, margin = len(order), top_p, 1.0
    if 0 < top_k < left:
        share *= float(mass[:top_k].sum())
        left = int((logits >= logits[order[top_k - 1]]).sum())
    for draw in range(MAX_ROUNDS):
        cumulative = torch.where(rank < left, mass[rank], 0.0).cumsum(0)
        target = uniform(seed, step, draw) * float(cumulative[-1])
        token = int((cumulative > target).nonzero()[0])
        margin = min(margin, float((cumulative - target).abs().min()))
        place = int(rank[token])
        if top_p < 1:
            margin = min(margin, abs(float(mass[:place].sum()) - share))
        if keep[place]:
            return token, margin
        left = place
    return int(order[0]), 0.0


@triton.jit
def _segment_sums(
    logits_ptr, temperature_ptr, active_ptr, top_ptr, mass_ptr, vocab, row_stride, segments,
    HAS_ACTIVE: tl.constexpr, SEGMENT: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """TILE segments of one row: each one's maximum, and its mass relative to that maximum."""
    row = tl.program_id(0)
    active = True
    if HAS_ACTIVE:
        active = tl.load(active_ptr + row) != 0
    if active:
        segment = tl.program_id(1) * TILE + tl.arange(0, TILE)
        token = segment[:, None] * SEGMENT + tl.arange(0, SEGMENT)[None, :]
        start = logits_ptr + row.to(tl.int64) * row_stride
        x = tl.load(start + token, mask=token < vocab, other=float("-inf")).to(tl.float32)
        top = tl.max(x, axis=1)
        tl.store(top_ptr + row * segments + segment, top, mask=segment < segments)
        temperature = tl.load(temperature_ptr + row)
        if temperature > 0:
            # A segment that is masked out (-inf everywhere) has mass 0, not NaN.
            safe = tl.where(top > float("-inf"), top, 0.0)
            weights = weight(x, safe[:, None], 1.4426950408889634 / temperature)
            mass = tl.sum(weights, axis=1)
            tl.store(mass_ptr + row * segments + segment, mass, mask=segment < segments)


@triton.jit
def _keep_top_k(
    row, top_ptr, mass_ptr, tops, top, inverse, top_k, top_p, vocab, segments,
    SEGMENT: tl.constexpr, SEGMENTS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """The likeliest tokens' mass by segment, the logit that they reach, how many they are (more
    than top_k if several are as likely as the last), and top_p of the mass of top_k of them."""
    last = kth_logit(row, top_ptr, tops, top, top_k, vocab, segments, SEGMENT, SEGMENTS, TILE)
    mass, count = mass_before(
        row, top_ptr, mass_ptr, top, inverse, last, vocab, vocab, segments, SEGMENT, SEGMENTS, TILE
    )
    over = (count - top_k).to(tl.float64) * weight(last, top, inverse).to(tl.float64)
    return mass, last, count, (tl.sum(mass, 0) - over) * top_p.to(tl.float64)


@triton.jit
def _draw_row(
    row, top_ptr, mass_ptr, temperature, top_p, top_k, seed, step, vocab, segments,
    HAS_TOP_P: tl.constexpr, HAS_TOP_K: tl.constexpr,
    SEGMENT: tl.constexpr, SEGMENTS: tl.constexpr, TILE: tl.constexpr, MAX_ROUNDS: tl.constexpr,
):  # fmt: skip
    """The token of one row, from its segments' sums."""
    index = tl.arange(0, SEGMENTS)
    tops = tl.load(top_ptr + index, mask=index < segments, other=float("-inf"))
    top = tl.max(tops, 0)
    token = tl.min(tl.where(tops == top, index, 2147483647), 0) * SEGMENT + tl.arange(0, SEGMENT)
    x = tl.load(row + token, mask=token < vocab, other=float("-inf")).to(tl.float32)
    likeliest = tl.min(tl.where(x == top, token, 2147483647), 0)
    chosen = likeliest
    if (temperature > 0) & (top > float("-inf")) & (top_k != 1):
        inverse = 1.4426950408889634 / temperature
        sums = tl.load(mass_ptr + index, mask=index < segments, other=0.0)
        mass = (sums * weight(tops, top, inverse)).to(tl.float64)
        cut = tl.sum(mass, 0) * top_p.to(tl.float64)
        pivot = float("-inf")
        pivot_token = vocab
        left = vocab  # how many tokens precede the pivot
        if HAS_TOP_K:  # noqa: SIM102 (known when compiling; what follows is not)
            if top_k < vocab:
                mass, pivot, left, cut = _keep_top_k(
                    row, top_ptr, mass_ptr, tops, top, inverse, top_k, top_p, vocab, segments,
                    SEGMENT, SEGMENTS, TILE,
                )  # fmt: skip
        draw = 0
        while draw < MAX_ROUNDS:
            number = uniform_number(seed, step, draw)
            chosen, logit = pick(
                row, mass, top, inverse, pivot, pivot_token, number, vocab, SEGMENT, SEGMENTS
            )
            draw += 1
            accepted = True
            if HAS_TOP_P or HAS_TOP_K:  # noqa: SIM102
                if (chosen >= 0) & ((top_p < 1) | (top_k < left)):
                    pivot = logit
                    pivot_token = chosen
                    mass, left = mass_before(
                        row, top_ptr, mass_ptr, top, inverse, pivot, pivot_token, vocab, segments,
                        SEGMENT, SEGMENTS, TILE,
                    )  # fmt: skip
                    enough = (tl.sum(mass, 0) >= cut) & (top_p < 1)
                    accepted = (left == 0) | ((left < top_k) & (enough == 0))
            if (chosen < 0) | ((draw == MAX_ROUNDS) & (accepted == 0)):
                chosen = likeliest
            if accepted:
                draw = MAX_ROUNDS
    return chosen


@triton.jit
def _draw(
    logits_ptr, temperature_ptr, top_p_ptr, top_k_ptr, seed_ptr, step_ptr, active_ptr,
    top_ptr, mass_ptr, out_ptr, vocab, row_stride, segments,
    HAS_ACTIVE: tl.constexpr, HAS_TOP_P: tl.constexpr, HAS_TOP_K: tl.constexpr,
    SEGMENT: tl.constexpr, SEGMENTS: tl.constexpr, TILE: tl.constexpr, MAX_ROUNDS: tl.constexpr,
):  # fmt: skip
    """One row a program. SEGMENTS is `segments` rounded up to a power of two."""
    row = tl.program_id(0)
    active = True
    if HAS_ACTIVE:
        active = tl.load(active_ptr + row) != 0
    if active:
        top_p = tl.full((), 1.0, tl.float32)
        if HAS_TOP_P:
            top_p = tl.load(top_p_ptr + row)
        top_k = tl.full((), 2147483647, tl.int32)
        if HAS_TOP_K:
            top_k = tl.load(top_k_ptr + row)
            top_k = tl.where(top_k > 0, top_k, 2147483647)
        chosen = _draw_row(
            logits_ptr + row.to(tl.int64) * row_stride,
            top_ptr + row * segments, mass_ptr + row * segments,
            tl.load(temperature_ptr + row), top_p, top_k,
            tl.load(seed_ptr + row), tl.load(step_ptr + row), vocab, segments,
            HAS_TOP_P, HAS_TOP_K, SEGMENT, SEGMENTS, TILE, MAX_ROUNDS,
        )  # fmt: skip
        tl.store(out_ptr + row, chosen)
    else:
        tl.store(out_ptr + row, -1)


def sampling(
    logits: torch.Tensor, temperature: torch.Tensor, seed: torch.Tensor, step: torch.Tensor, *,
    top_p: torch.Tensor | None = None, top_k: torch.Tensor | None = None,
    active: torch.Tensor | None = None, out: torch.Tensor | None = None, check: bool = False,
) -> torch.Tensor:  # fmt: skip
    """One token id for each row of `logits`, bf16 or float32 `[batch, vocab]`: int32 `[batch]`.

    `temperature` float32, 0: greedy, the likeliest token, ties to the lowest id. `top_p` float32,
    `top_k` int32 (0: no limit), `seed` int64, `step` int32, the number of the token in its
    sequence, so that each step draws new numbers; all `[batch]`. `active` int32 `[batch]`: rows
    with 0 are empty slots, cost nothing and give -1. Logits may be -inf, not NaN; a row of -inf
    gives token 0. `check` looks at the values of temperature, top_p and top_k, which reads the
    device. Raises ValueError that names the argument, before any launch.
    """
    checks.tensor("logits", logits, (None, None), (torch.bfloat16, torch.float32), rows_only=True)
    batch, vocab = logits.shape
    if not 1 <= vocab <= 1 << 20:
        raise ValueError(f"logits: has {vocab} tokens, must be 1 to {1 << 20}")
    per_row = (
        ("temperature", temperature, torch.float32), ("seed", seed, torch.int64),
        ("step", step, torch.int32), ("top_p", top_p, torch.float32),
        ("top_k", top_k, torch.int32), ("active", active, torch.int32),
    )  # fmt: skip
    for name, value, kind in per_row:
        if value is not None or name in ("temperature", "seed", "step"):
            checks.tensor(name, value, (batch,), kind, logits.device)
    if out is None:
        out = torch.empty(batch, dtype=torch.int32, device=logits.device)
    checks.tensor("out", out, (batch,), torch.int32, logits.device)
    if check:
        _check_values(temperature, top_p, top_k)
    if batch:
        launch(logits, temperature, seed, step, top_p, top_k, active, out)
    return out


def _check_values(
    temperature: torch.Tensor, top_p: torch.Tensor | None, top_k: torch.Tensor | None
) -> None:
    if not bool(((temperature >= 0) & (temperature < math.inf)).all()):
        raise ValueError("temperature: must be 0 (greedy) or more, and finite")
    if top_p is not None and not bool(((top_p >= 0) & (top_p <= 1)).all()):
        raise ValueError("top_p: must lie in 0 to 1")
    if top_k is not None and bool((top_k < 0).any()):
        raise ValueError("top_k: must be 0 (no limit) or more")


def launch(
    logits: torch.Tensor, temperature: torch.Tensor, seed: torch.Tensor, step: torch.Tensor,
    top_p: torch.Tensor | None, top_k: torch.Tensor | None, active: torch.Tensor | None,
    out: torch.Tensor, *,
    sums: tuple[int, int] | None = None, draw: tuple[int, int] | None = None,
) -> None:  # fmt: skip
    """Launch without checks. `sums` and `draw`: segments a tile and warps of the two kernels."""
    batch, vocab = logits.shape
    segments = triton.cdiv(vocab, SEGMENT)
    work = torch.empty((2, batch, segments), dtype=torch.float32, device=logits.device)
    tile, warps = sums or SUMS
    _segment_sums[(batch, triton.cdiv(segments, tile))](
        logits, temperature, active, work[0], work[1], vocab, logits.stride(0), segments,
        HAS_ACTIVE=active is not None, SEGMENT=SEGMENT, TILE=tile, num_warps=warps,
    )  # fmt: skip
    has_top_p, has_top_k = top_p is not None, top_k is not None
    tile, warps = draw or default_draw(batch, logits.dtype, has_top_p, has_top_k)
    _draw[(batch,)](
        logits, temperature, top_p, top_k, seed, step, active, work[0], work[1], out,
        vocab, logits.stride(0), segments,
        HAS_ACTIVE=active is not None, HAS_TOP_P=has_top_p, HAS_TOP_K=has_top_k,
        SEGMENT=SEGMENT, SEGMENTS=triton.next_power_of_2(segments), TILE=tile,
        MAX_ROUNDS=MAX_ROUNDS, num_warps=warps,
    )  # fmt: skip


def default_draw(
    batch: int, dtype: torch.dtype, has_top_p: bool, has_top_k: bool
) -> tuple[int, int]:
    """Segments a tile, and warps, of a row's draws, as measured on an H100 (docs/kernels-log.md).
    Without limits a row is one segment; the search for top-k needs twice the registers."""
    if has_top_k:
        return (8, 8) if batch > 256 else (16, 16)
    if has_top_p:
        return (16, 8) if dtype == torch.bfloat16 else (8, 8)
    return 8, 4


def flops_and_bytes(batch: int, vocab: int, element_bytes: int = 2) -> Work:
    """Least work: the logits read once, a token written; an exponential and a sum a logit."""
    return Work(float(4 * batch * vocab), float(batch * (vocab * element_bytes + 4 + 28)))
