"""Gumbel top-k subsampling of a teacher's distribution, with weights that keep its expectation.

The k largest of ln p + Gumbel noise are a sample of k different tokens, likely ones first. Given
kappa, the (k + 1)th largest, token v is among them with probability

    pi(v) = 1 - exp(-exp(ln p(v) - kappa)),

so that the weight p(v) / pi(v) of those that are, and 0 of all others, has the expectation p(v)
(Kool et al., "Stochastic Beams and Where to Find Them", ICML 2019, section 4.1; priority sampling
before that). A likely token has pi near 1 and weighs its p; unlikely ones weigh about exp(kappa)
each and stand for the tail. That Character.AI subsamples with Gumbel noise and preserves the soft
targets' expectation is reported; k is not published.

Noise is a function of seed, row and token (Philox), whatever the batches are.
"""

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from kernels.common import checks
from kernels.common.device import Work

FLOATS = (torch.float32, torch.bfloat16)
BLOCK = 2048
WORD = 0xFFFFFFFF
SMALL = 1e-3


class Targets(NamedTuple):
    """Of each row, k tokens: `ids` int32, `weights` float32, both `[rows, k]`. Where a row's
    distribution has fewer tokens, ids of the rest are -1 and weights 0."""

    ids: torch.Tensor
    weights: torch.Tensor


def _product(a: torch.Tensor, b: int) -> tuple[torch.Tensor, torch.Tensor]:
    wide = a * b
    return wide >> 32 & WORD, wide & WORD


def reference_noise(rows: torch.Tensor, vocab: int, seed: int) -> torch.Tensor:
    """Gumbel noise of rows with these numbers, float32 `[rows, vocab]`: Philox4x32-10 with counter
    (token // 4, row, row >> 32, 0) and key `seed`, word token % 4."""
    c0 = torch.arange(-(-vocab // 4), device=rows.device).expand(len(rows), -1)
    c1 = (rows.long() & WORD)[:, None].expand_as(c0)
    c2, c3 = (rows.long() >> 32)[:, None].expand_as(c0), torch.zeros_like(c0)
    k0, k1 = seed & WORD, seed >> 32 & WORD
    for _ in range(10):
        high_2, low_2 = _product(c2, 0xCD9E8D57)
        high_0, low_0 = _product(c0, 0xD2511F53)
        c0, c1, c2, c3 = high_2 ^ c1 ^ k0, low_2, high_0 ^ c3 ^ k1, low_0
        k0, k1 = k0 + 0x9E3779B9 & WORD, k1 + 0xBB67AE85 & WORD
    words = torch.stack((c0, c1, c2, c3), 2).flatten(1)[:, :vocab]
    u = ((words.double() + 0.5) / 2**32).float().clamp(max=1 - 2**-24)
    # An exponential variable is -ln(1 - u); where u is small, 1 - u would forget its last bits.
    near = u * (1 + u * (0.5 + u / 3))
    return -torch.where(u < SMALL, near, -(1 - u).log()).log()


@triton.jit
def _keys(
    logits_ptr, rows_ptr, out_ptr, vocab, stride, inverse, seed, BLOCK: tl.constexpr
):  # fmt: skip
    """inverse * logits + noise; a quarter of a block a Philox call."""
    row = tl.program_id(1).to(tl.int64)
    number = tl.load(rows_ptr + row)
    quarter = tl.program_id(0) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    low = (number & 0xFFFFFFFF).to(tl.uint32)
    a, b, c, d = tl.philox(seed, quarter, low, (number >> 32).to(tl.uint32), 0)
    # Two joins and a transposition bring words into the order of tokens: a, b, c, d.
    words = tl.reshape(tl.join(tl.join(a, c), tl.join(b, d)), (BLOCK,))
    u = (words.to(tl.uint32, bitcast=True).to(tl.float32) + 0.5) * 2.3283064365386963e-10
    u = tl.minimum(u, 1.0 - 5.9604644775390625e-08)
    near = u * (1.0 + u * (0.5 + u * (1.0 / 3.0)))
    noise = -tl.log(tl.where(u < 1e-3, near, -tl.log(1.0 - u)))
    token = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = token < vocab
    x = tl.load(logits_ptr + row * stride + token, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * vocab + token, x * inverse + noise, mask=inside)


def gumbel_keys(
    logits: torch.Tensor, rows: torch.Tensor, seed: int, temperature: float, *,
    by_torch: bool | None = None,
) -> torch.Tensor:  # fmt: skip
    """logits / temperature + noise, float32 `[rows, vocab]`."""
    if (not logits.is_cuda) if by_torch is None else by_torch:
        return logits.float() / temperature + reference_noise(rows, logits.shape[1], seed)
    out = torch.empty(logits.shape, dtype=torch.float32, device=logits.device)
    count, vocab = logits.shape
    _keys[(triton.cdiv(vocab, BLOCK), count)](
        logits, rows, out, vocab, logits.stride(0), 1 / temperature, seed, BLOCK=BLOCK
    )
    return out


def subsample(
    logits: torch.Tensor, k: int, seed: int, *,
    first_row: int = 0, temperature: float = 1.0, by_torch: bool | None = None,
) -> Targets:  # fmt: skip
    """k tokens of each row of the teacher's logits, float32 or bf16 `[rows, vocab]`.

    `first_row`: number of the first row in the whole corpus, which decides its noise. A token whose
    logit is -inf is never drawn. With k >= vocab, the weights are the distribution itself. Raises
    ValueError that names the argument.
    """
    checks.tensor("logits", logits, (None, None), FLOATS, rows_only=True)
    count, vocab = logits.shape
    if not 1 <= k <= vocab:
        raise ValueError(f"k: is {k}, must be 1 to {vocab}, the vocabulary")
    checks.number("temperature", temperature, 1e-3, 1e3)
    rows = torch.arange(first_row, first_row + count, device=logits.device)
    keys = gumbel_keys(logits, rows, seed, temperature, by_torch=by_torch)
    top = keys.topk(min(k + 1, vocab), 1)
    kappa = top.values[:, k:] if k < vocab else torch.full_like(keys[:, :1], -math.inf)
    ids = top.indices[:, :k]
    scaled = logits.float() / temperature
    # kappa is in units of the logits, as noise was added to these and not to ln p.
    chosen = scaled.gather(1, ids)
    rate = (chosen - kappa).exp()  # infinite where everything is included
    included = -torch.expm1(-rate)
    p = (chosen - scaled.logsumexp(1, keepdim=True)).exp()
    weights = torch.where(chosen > -math.inf, p / included, torch.zeros_like(p))
    # Where p underflows so does its rate, and their ratio is exp(kappa - lse).
    limit = (kappa - scaled.logsumexp(1, keepdim=True)).exp()
    weights = torch.where((rate < 1e-6) & (chosen > -math.inf), limit, weights)
    return Targets(torch.where(weights > 0, ids, -1).int(), weights)


def flops_and_bytes(rows: int, vocab: int, itemsize: int = 2) -> Work:
    """Of `gumbel_keys`: logits read, keys written; about 40 operations each, most of them noise."""
    return Work(40.0 * rows * vocab, float(rows * vocab * (itemsize + 4)))
