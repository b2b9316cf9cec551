"""Decode attention of users who share the beginning of their context (one character definition).

Where the first pages of several sequences are the same, their keys need not come from device
memory once for each. Two ways were measured (docs/kernels-log.md):

- a cascade of kernels: pairs of users attend to the prefix with the heads of both as the rows of
  one product, then each to its own keys, then the results are merged. It takes three launches, and
  on an H100 it loses everywhere: with int8 pages a tile's arithmetic, not its bytes, is what costs;
- **order**: users of one prefix are neighbours in the batch. `decode_attention`'s workers then read
  the same pages at about the same time, and all but the first find them in the L2 cache. Its plan
  starts all sequences of a step together, so in the batches measured it works in any order, and the
  cache is what wins; `group_by_prefix` is for batches of several rounds. Nothing else changes.

So there is no kernel here: the operator is `decode_attention` on a batch in this order.
"""

import torch

from kernels.common import checks
from kernels.common.device import Work
from kernels.decode_attention import flops_and_bytes as decode_work


def group_by_prefix(pages: torch.Tensor, prefix_tokens: torch.Tensor) -> torch.Tensor:
    """An order of the batch in which sequences with the same prefix pages are neighbours.

    `pages` int32 `[batch, entries]`, `prefix_tokens` int32 `[batch]`: how many of a sequence's
    first tokens lie on pages that it may share. Returns int64 `[batch]`, a permutation, on the
    device: longer prefixes first, those on the same first page together, in their old order
    otherwise. The engine orders the rows of a step (q, tables, start, limit) by it; one short sort
    a step.
    """
    checks.tensor("pages", pages, (None, None), torch.int32, rows_only=True)
    checks.tensor("prefix_tokens", prefix_tokens, (pages.shape[0],), torch.int32, pages.device)
    key = prefix_tokens.long() * (1 << 32) + pages[:, 0].long()
    return torch.argsort(key, stable=True, descending=True)


def flops_and_bytes(
    start: torch.Tensor, limit: torch.Tensor, prefix_tokens: torch.Tensor, groups: int, heads: int
) -> Work:
    """The least a step does when `groups` prefixes are each read once: int8, one KV head.

    `prefix_tokens` int32 `[batch]` (those of a group alike). Operations are those of
    `decode_attention`; bytes are each user's own keys and each group's prefix.
    """
    all_keys = decode_work(start, limit, heads)
    shared = float(prefix_tokens.sum()) * (1 - groups / prefix_tokens.shape[0])
    return Work(all_keys.flops, all_keys.bytes - shared * 256)
