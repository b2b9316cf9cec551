"""Our operators as contenders: each called as an engine calls it, through its public function.

Outputs are allocated once. The error is of a call into a poisoned output, against the operator's
own reference on some of the rows.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from benchmarks.kernels.cases import Case
from benchmarks.kernels.inputs import MatmulInputs, Sets, SharedInputs
from benchmarks.kernels.store import CHAINED
from benchmarks.kernels.timing import Call, Contender
from kernels.common.example import (
    DecodeInputs,
    NormInputs,
    PrefillInputs,
    RotaryInputs,
    relative_error,
)

PLAIN = "ours, plain Triton"
MOST_CHAINED = 256
"""Rows M of the products that can begin early: they wait for weights, which are always there."""
CHECKED = 48
"""Rows (tokens, sequences) that are compared with the reference."""


def rows_of(count: int, device: torch.device, most: int = CHECKED) -> torch.Tensor:
    """Some rows, the first and the last among them."""
    return torch.linspace(0, count - 1, min(count, most), device=device).round().long()


def poison(out: torch.Tensor) -> None:
    """Fill with what no kernel writes."""
    out.fill_(float("nan") if out.is_floating_point() else -128)


def is_hopper() -> bool:
    """Are the Gluon kernels served here?"""
    return torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0)


def variants(case: Case) -> dict[str, dict[str, Any]]:
    """Ours, and on Hopper: launched chained, and what runs elsewhere. By name, with arguments.

    Chained, each call may begin while the call before it ends: back to back on one stream, as in a
    captured step, it fetches what that call does not write (weights, older pages) ahead.
    """
    shape, found = case.shape, {"ours": {}}
    if not is_hopper():
        return found
    is_usual = shape.get("kv", "int8") == "int8" and shape.get("kv_heads", 1) == 1
    if case.operator == "matmul":
        if shape["m"] <= MOST_CHAINED:
            found[CHAINED] = {"chained": True}
    elif case.operator == "decode_attention" and shape["kv"] == "int8":
        found[CHAINED] = {"chained": True}
    if is_usual:
        found[PLAIN] = {"backend": "triton"}
    return found


def alone_and_chained(operator: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """How a small operator is called: chained too, if it can be."""
    can_chain = is_hopper() and "chained" in inspect.signature(operator).parameters
    return {"ours": {}} | ({CHAINED: {"chained": True}} if can_chain else {})


def decoders(
    inputs: Sequence[DecodeInputs], named: Mapping[str, Mapping[str, Any]]
) -> Iterator[Contender]:
    """Decode attention, once with each of the named arguments.

    With the plan made: a step makes one for all layers (`decode_plan`).
    """
    from kernels.decode_attention import decode_attention, make_plan, reference

    first = inputs[0]
    fixed = {"heads": first.q.shape[1], "kv_heads": first.kv.kv_heads, "dtype": first.q.dtype}
    outs = [torch.empty_like(i.q, dtype=torch.bfloat16) for i in inputs]
    plans = [make_plan(i.start, i.limit, **fixed) for i in inputs]

    def call(i: int, more: Mapping[str, Any]) -> Call:
        given, plan, out = inputs[i], plans[i], outs[i]
        return lambda: decode_attention(*given, plan=plan, out=out, **more)

    def error(more: Mapping[str, Any]) -> float:
        poison(outs[0])
        for i in (-1, 0):  # the checked one behind another, as it is timed
            call(i, more)()
        rows = rows_of(len(first.q), first.q.device, 4)
        scale = None if first.q_scale is None else first.q_scale[rows]
        seen = (first.pages[rows], first.start[rows], first.limit[rows])
        want = reference(first.q[rows], scale, first.kv, first.v_scale, *seen)
        return relative_error(outs[0][rows], want)

    for name, more in named.items():
        calls = [call(i, more) for i in range(len(inputs))]
        yield Contender(name, calls, lambda m=more: error(m), tolerance=0.05)


def decode_attention(case: Case, sets: Sets) -> Iterator[Contender]:
    """One query a sequence."""
    yield from decoders(sets.sets, variants(case))


def decode_plan(case: Case, sets: Sets) -> Iterator[Contender]:
    """Filling a plan that is there."""
    del case
    from kernels.common import schedule
    from kernels.decode_attention import make_plan

    plans = [make_plan(start, limit, heads=64) for start, limit in sets.sets]
    yield Contender("ours", [lambda p=plan: schedule.fill(p) for plan in plans])


def prefill_attention(case: Case, sets: Sets) -> Iterator[Contender]:
    """With the plan made: a step makes one for all layers (`prefill_plan`)."""
    from kernels.prefill_attention import make_plan, prefill_attention, reference

    heads = {"heads": case.shape["heads"], "kv_heads": case.shape["kv_heads"]}
    outs = [torch.empty_like(i.q, dtype=torch.bfloat16) for i in sets.sets]
    plans = [make_plan(i.cu_q, i.start, i.limit, **heads) for i in sets.sets]

    def call(i: int, more: Mapping[str, Any]) -> Call:
        inputs, plan, out = sets.sets[i], plans[i], outs[i]
        return lambda: prefill_attention(*inputs, plan=plan, out=out, **more)

    def error(more: Mapping[str, Any]) -> float:
        poison(outs[0])
        call(0, more)()
        given: PrefillInputs = sets.sets[0]
        rows = rows_of(len(given.q), given.q.device)
        scale = None if given.q_scale is None else given.q_scale[rows]
        bounds = torch.tensor([0, len(rows)], dtype=torch.int32, device=given.q.device)
        seen = (bounds, given.start[rows], given.limit[rows])
        want = reference(given.q[rows], scale, given.kv, given.v_scale, given.pages, *seen)
        return relative_error(outs[0][rows], want)

    for name, more in variants(case).items():
        calls = [call(i, more) for i in range(len(sets.sets))]
        yield Contender(name, calls, lambda m=more: error(m), tolerance=0.06)


def prefill_plan(case: Case, sets: Sets) -> Iterator[Contender]:
    """Filling a plan that is there."""
    from kernels.common import tiles
    from kernels.prefill_attention import make_plan

    seen = [(i.cu_q, i.start, i.limit) for i in sets.sets]
    plans = [make_plan(*visible, heads=case.shape["heads"]) for visible in seen]
    yield Contender("ours", [lambda p=plan: tiles.fill(p) for plan in plans])


def _epilogue(case: Case, inputs: MatmulInputs) -> Any:
    from kernels import product

    match case.shape["epilogue"]:
        case "relu2":
            return product.SquaredRelu()
        case "residual":
            return product.Residual(inputs.residual, inputs.residual_scale)
    return product.PLAIN


def matmul(case: Case, sets: Sets) -> Iterator[Contender]:
    """Row and column scales and the epilogue in one launch."""
    from kernels.matmul import matmul, reference

    first: MatmulInputs = sets.sets[0]
    kind = torch.int8 if case.shape["epilogue"] == "relu2" else torch.bfloat16
    size = (first.x.shape[0], first.w.shape[0])
    outs = [torch.empty(size, dtype=kind, device=first.x.device) for _ in sets.sets]

    def call(i: int, more: Mapping[str, Any]) -> Call:
        inputs, out = sets.sets[i], outs[i]
        epilogue = _epilogue(case, inputs)
        return lambda: matmul(*inputs[:4], epilogue=epilogue, out=out, **more)

    def error(more: Mapping[str, Any]) -> float:
        poison(outs[0])
        for i in (-1, 0):  # the checked one behind another, as it is timed
            call(i, more)()
        rows = rows_of(size[0], first.x.device)
        residual = None if first.residual is None else first.residual[rows]
        part = first._replace(x=first.x[rows], row_scale=first.row_scale[rows], residual=residual)
        want = reference(*part[:4], epilogue=_epilogue(case, part))
        return relative_error(outs[0][rows], want)

    for name, more in variants(case).items():
        calls = [call(i, more) for i in range(len(sets.sets))]
        yield Contender(name, calls, lambda m=more: error(m), tolerance=0.01)


def norm_quantise(case: Case, sets: Sets) -> Iterator[Contender]:
    """The residual sum in place, one static scale."""
    del case
    from kernels.norm_quantise import norm_quantise, reference

    outs = [torch.empty_like(i.x, dtype=torch.int8) for i in sets.sets]

    def call(i: int, how: Mapping[str, Any]) -> Call:
        inputs, out = sets.sets[i], outs[i]
        more = {"delta": inputs.delta, "residual_scale": inputs.residual_scale, **how}
        return lambda: norm_quantise(inputs.x, **more, out=out)

    def error(how: Mapping[str, Any]) -> float:
        given: NormInputs = sets.sets[0]
        rows = rows_of(len(given.x), given.x.device)
        before = given.x[rows].clone()
        poison(outs[0])
        call(0, how)()
        more = {"delta": given.delta[rows], "residual_scale": given.residual_scale}
        stream, want, _ = reference(before, **more)
        return max(relative_error(outs[0][rows], want), relative_error(given.x[rows], stream))

    for name, how in alone_and_chained(norm_quantise).items():
        calls = [call(i, how) for i in range(len(outs))]
        yield Contender(name, calls, lambda h=how: error(h), tolerance=0.02)


def rotary_write(case: Case, sets: Sets) -> Iterator[Contender]:
    """Queries, keys and values in one launch."""
    from kernels.common.layout import stored
    from kernels.rotary_write import reference, rotary_table, rotary_write

    base, heads = 10000.0, case.shape["heads"]
    first: RotaryInputs = sets.sets[0]
    table = rotary_table(8192, base, first.qkv.device)
    size = (len(first.qkv), heads, 128)
    q = [torch.empty(size, dtype=torch.int8, device=first.qkv.device) for _ in sets.sets]
    scales = [torch.empty(size[:2], device=first.qkv.device) for _ in sets.sets]

    def call(i: int, how: Mapping[str, Any]) -> Call:
        given: RotaryInputs = sets.sets[i]
        into = {"pages": given.pages, "slots": given.slots, "q": q[i], "q_scale": scales[i]}
        fixed = {"k_scale": given.k_scale, "v_scale": given.v_scale, **how}
        return lambda: rotary_write(given.qkv, given.positions, table, **fixed, **into)

    def error(how: Mapping[str, Any]) -> float:
        for out in (q[0], scales[0], first.pages.k, first.pages.v):
            poison(out)
        call(0, how)()
        rows = rows_of(size[0], first.qkv.device)
        fixed = {"heads": heads, "k_scale": first.k_scale, "v_scale": first.v_scale}
        want = reference(first.qkv[rows], first.positions[rows], base, **fixed)
        k, v = stored(first.pages, first.slots[rows])
        pairs = ((q[0][rows], want.q), (k, want.k), (v, want.v), (scales[0][rows], want.q_scale))
        return max(relative_error(got, exact) for got, exact in pairs)

    for name, how in alone_and_chained(rotary_write).items():
        calls = [call(i, how) for i in range(len(q))]
        yield Contender(name, calls, lambda h=how: error(h), tolerance=0.03)


def embedding(case: Case, sets: Sets) -> Iterator[Contender]:
    """A gather with a scale."""
    from kernels.embedding import embedding, reference

    device = sets.sets[0][0].device
    size = (case.shape["tokens"], case.shape["hidden"])
    outs = [torch.empty(size, dtype=torch.bfloat16, device=device) for _ in sets.sets]

    def error() -> float:
        poison(outs[0])
        embedding(*sets.sets[0], out=outs[0])
        return relative_error(outs[0], reference(*sets.sets[0]))

    calls = [lambda i=i, o=o: embedding(*i, out=o) for i, o in zip(*(sets.sets, outs), strict=True)]
    yield Contender("ours", calls, error, tolerance=0.01)


def sampling(case: Case, sets: Sets) -> Iterator[Contender]:
    """The error is the share of wrong tokens, greedy; drawn ones are compared in the tests."""
    from kernels.sampling import sampling

    top_p, batch = case.shape["top_p"], case.shape["batch"]
    device = sets.sets[0][0].device
    temperature = torch.full((batch,), 0.8 if top_p else 0.0, device=device)
    seed = torch.arange(batch, dtype=torch.int64, device=device)
    step = torch.zeros(batch, dtype=torch.int32, device=device)
    out = torch.empty(batch, dtype=torch.int32, device=device)
    more = {"top_p": torch.full((batch,), top_p, device=device)} if top_p else {}

    def call(logits: torch.Tensor) -> Call:
        return lambda: sampling(logits, temperature, seed, step, out=out, **more)

    def error() -> float:
        poison(out)
        call(sets.sets[0][0])()
        if top_p:
            return float(((out < 0) | (out >= case.shape["vocab"])).float().mean())
        return float((out != sets.sets[0][0].float().argmax(-1)).float().mean())

    yield Contender("ours", [call(logits) for (logits,) in sets.sets], error, tolerance=0.0)


def shared_prefix(case: Case, sets: Sets) -> Iterator[Contender]:
    """Decode attention with the users of a prefix as neighbours, shuffled, and without sharing."""
    from kernels.shared_prefix import group_by_prefix

    def neighbours(given: SharedInputs) -> DecodeInputs:
        order = group_by_prefix(given.shared.pages, given.prefix_tokens)
        return in_order(given.shared, order)

    orders = {
        "ours": [neighbours(i) for i in sets.sets],
        "ours, shuffled": [i.shared for i in sets.sets],
        "ours, nothing shared": [i.shared._replace(pages=i.own_pages) for i in sets.sets],
    }
    del case
    for name, inputs in orders.items():
        yield from decoders(inputs, {name: {}})


def in_order(inputs: DecodeInputs, order: torch.Tensor) -> DecodeInputs:
    """The batch in another order."""
    assert inputs.q_scale is not None
    return DecodeInputs(
        inputs.q[order],
        inputs.q_scale[order],
        inputs.kv,
        inputs.v_scale,
        inputs.pages[order],
        inputs.start[order],
        inputs.limit[order],
    )


OPERATORS: dict[str, Callable[[Case, Sets], Iterator[Contender]]] = {
    "decode_attention": decode_attention,
    "decode_plan": decode_plan,
    "embedding": embedding,
    "matmul": matmul,
    "norm_quantise": norm_quantise,
    "prefill_attention": prefill_attention,
    "prefill_plan": prefill_plan,
    "rotary_write": rotary_write,
    "sampling": sampling,
    "shared_prefix": shared_prefix,
}
