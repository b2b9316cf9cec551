"""Every operator over its own sizes: where the time of a step goes.

Names and sizes (all of one layer, on one rank):

- `embedding`, `norm`, `qkv`, `q`, `rotary`, `o`, `up`, `down`: `rows`;
- `head`, `sampling`: `seqs`;
- `decode_global`, `decode_local`: `batch`, `context`;
- `prefill_global`, `prefill_local`: `new`, `cached`;
- `plan_decode`: `batch`, `context`; `plan_prefill`: `new`, `cached` (attention's launch plans);
- `all_reduce`: `rows`, with several GPUs.
"""

from collections.abc import Iterator

from calibrate.design.item import EARLY, LATE, MIDDLE, OperatorItem

ROW_OPERATORS = ("embedding", "norm", "qkv", "q", "rotary", "o", "up", "down")
PRODUCTS = ("qkv", "q", "o", "up", "down")
ROWS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
SEQS = (16, 32, 64, 128, 256, 512)
BATCHES = (1, 16, 64, 128, 256, 512)
CONTEXTS = (256, 1024, 4096, 8192, 16384)
NEW = (64, 264, 512, 1024, 2048)
CACHED = (0, 1024, 4096, 12288)


def operator_grid(tensor_parallel: int) -> list[OperatorItem]:
    """All of them; all-reduce only between several GPUs."""
    rows = list(ROW_OPERATORS) + (["all_reduce"] if tensor_parallel > 1 else [])
    return [*_by_rows(rows), *_by_seqs(), *_decodes(), *_prefills()]


def _by_rows(operators: list[str]) -> Iterator[OperatorItem]:
    for operator in operators:
        for rows in ROWS:
            coarse = rows & (rows - 1) == 0
            rank = LATE if coarse else MIDDLE if operator in PRODUCTS else EARLY
            yield OperatorItem(operator, (("rows", rows),), rank)


def _by_seqs() -> Iterator[OperatorItem]:
    for operator in ("head", "sampling"):
        for seqs in SEQS:
            yield OperatorItem(operator, (("seqs", seqs),), LATE)


def _decodes() -> Iterator[OperatorItem]:
    for batch in BATCHES:
        for context in CONTEXTS:
            size = (("batch", batch), ("context", context))
            yield OperatorItem("decode_global", size, LATE if context == 4096 else MIDDLE)
            if context <= 4096:
                yield OperatorItem("decode_local", size, MIDDLE)
            if context == 4096:
                yield OperatorItem("plan_decode", size, EARLY)


def _prefills() -> Iterator[OperatorItem]:
    for new in NEW:
        for cached in CACHED:
            size = (("new", new), ("cached", cached))
            yield OperatorItem("prefill_global", size, LATE if cached == 0 else MIDDLE)
            if cached <= 1024:
                yield OperatorItem("prefill_local", size, MIDDLE)
            if cached == 4096:
                yield OperatorItem("plan_prefill", size, EARLY)
