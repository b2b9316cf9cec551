"""Public kernels for the same work, each where its package is there; and plain copies.

A peer gets the layout that it likes best, contiguous where ours is paged. None of these packages is
a dependency of the project.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from benchmarks.kernels.cases import HEAD_DIM, PAGE, Case
from benchmarks.kernels.gpu import installed
from benchmarks.kernels.inputs import ROTATED_BYTES, Sets
from benchmarks.kernels.timing import Contender

XQA_HEADS = 32
"""Query heads of a KV head that XQA takes at most."""
COPY_BLOCK, READ_BLOCKS = 2048, 8
"""int32 that a program of the plain copy moves; as many at a time, eight times, in the read."""


def named(name: str, package: str) -> str:
    """A peer's name with its package's version."""
    return f"{name} {installed(package)}"


def copies(bytes_of_one: float) -> range:
    """As many sets as ours has for so many bytes."""
    return range(1 + int(ROTATED_BYTES / bytes_of_one))


def _sdpa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, kind: str, causal: bool) -> Any:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backend = {"flash": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}[kind]
    gqa = q.shape[1] != k.shape[1]

    def call() -> torch.Tensor:
        with sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(
                q, k, v, is_causal=causal, enable_gqa=gqa
            )

    return call


def _bf16(*size: int) -> torch.Tensor:
    return torch.randn(size, device="cuda", dtype=torch.bfloat16)


def sdpa_decode(case: Case, sets: Sets) -> Iterator[Contender]:
    """torch's attention, KV in bf16 and contiguous; of a window, only the window is there.

    Once with grouped heads, once with the heads of a KV head as its queries, which is the same. Of
    the variants, flash with grouped heads only.
    """
    shape = case.shape
    if shape["lengths"] == "ragged":
        return
    batch, heads, kv_heads = shape["batch"], shape["heads"], shape["kv_heads"]
    tokens = shape["window"] or shape["context"]
    kv_bytes = 4.0 * batch * kv_heads * tokens * HEAD_DIM
    k, v = ([_bf16(batch, kv_heads, tokens, HEAD_DIM) for _ in copies(kv_bytes)] for _ in range(2))
    forms = {"": (heads, 1)}
    is_usual = shape["kv"] == "int8" and kv_heads == 1
    if is_usual:
        forms[", heads as queries"] = (kv_heads, heads // kv_heads)
    for kind in ("flash", "cuDNN") if is_usual else ("flash",):
        for form, (rows, queries) in forms.items():
            q = _bf16(batch, rows, queries, HEAD_DIM)
            calls = [_sdpa(q, *kv, kind, False) for kv in zip(k, v, strict=True)]
            yield Contender(named(f"torch SDPA {kind} bf16{form}", "torch"), calls)


def xqa_decode(case: Case, sets: Sets) -> Iterator[Contender]:
    """FlashInfer's XQA on int8 pages; more than 32 heads as several KV heads that are one."""
    shape = case.shape
    is_usual = shape["kv"] == "int8" and shape["kv_heads"] == 1
    if find_spec("flashinfer") is None or not is_usual or shape["heads"] % XQA_HEADS:
        return
    import flashinfer.jit.xqa
    from flashinfer.xqa import xqa

    flashinfer.jit.xqa._has_sm90_target = lambda: False  # its sm90 kernel has no int8
    groups = shape["heads"] // XQA_HEADS
    workspace = torch.zeros(256 << 20, dtype=torch.uint8, device="cuda")
    semaphores = torch.zeros(8 << 20, dtype=torch.uint8, device="cuda").view(torch.uint32)
    q = _bf16(shape["batch"], 1, shape["heads"], HEAD_DIM)
    calls = []
    for given in sets.sets:
        # Transposed V is as good as any other for the time.
        k, v = (t.view(-1, 1, PAGE, HEAD_DIM).expand(-1, groups, -1, -1) for t in given.kv)
        lengths = given.limit.view(torch.uint32)[:, None]
        more = {"sliding_win_size": shape["window"], "kv_layout": "HND", "kv_scale": 0.01}
        fixed = (workspace, semaphores, groups, PAGE)
        args = (q, k, v, given.pages, lengths, torch.empty_like(q), *fixed)
        calls.append(lambda args=args, more=more: xqa(*args, **more))
    yield Contender(named("FlashInfer XQA int8", "flashinfer-python"), calls)


def sdpa_prefill(case: Case, sets: Sets) -> Iterator[Contender]:
    """torch's causal attention in bf16, of a chunk that has nothing before it."""
    shape = case.shape
    if shape["cached"] or shape["window"]:
        return
    chunk, heads, kv_heads = shape["chunk"], shape["heads"], shape["kv_heads"]
    kv = [[_bf16(1, kv_heads, chunk, HEAD_DIM) for _ in range(2)] for _ in sets.sets]
    q = [_bf16(1, heads, chunk, HEAD_DIM) for _ in sets.sets]
    is_usual = shape["kv"] == "int8" and kv_heads == 1
    for kind in ("flash", "cuDNN") if is_usual else ("cuDNN",):
        calls = [_sdpa(one, *both, kind, True) for one, both in zip(q, kv, strict=True)]
        yield Contender(named(f"torch SDPA {kind} bf16", "torch"), calls)


def sage_prefill(case: Case, sets: Sets) -> Iterator[Contender]:
    """SageAttention 1 (Triton): int8 scores, fp16 P V; its kernel alone, inputs quantised."""
    shape = case.shape
    is_usual = shape["kv"] == "int8" and shape["kv_heads"] == 1
    if find_spec("sageattention") is None or not is_usual or shape["cached"] or shape["window"]:
        return
    from sageattention.attn_qk_int8_per_block_causal import forward
    from sageattention.quant_per_block import per_block_int8

    calls = []
    for _ in sets.sets:
        size = (shape["chunk"], HEAD_DIM)
        q, k = _bf16(1, shape["heads"], *size), _bf16(1, shape["kv_heads"], *size)
        values, scale, keys, k_scale = per_block_int8(q, k)
        args = (values, keys, k.half(), scale, k_scale)
        calls.append(lambda args=args: forward(*args, output_dtype=torch.bfloat16))
    yield Contender(named("SageAttention", "sageattention"), calls)


def int_mm(case: Case, sets: Sets) -> Iterator[Contender]:
    """torch._int_mm: int32 out, no scales. It wants more than 16 rows."""
    if case.shape["m"] <= 16 or case.shape["epilogue"] != "none":
        return
    calls = [lambda i=i: torch._int_mm(i.x, i.w.t()) for i in sets.sets]
    yield Contender(named("torch._int_mm", "torch"), calls)


def bf16_mm(case: Case, sets: Sets) -> Iterator[Contender]:
    """bf16 weights, where they are what the time goes for."""
    m, n, k = (case.shape[name] for name in "mnk")
    if m > 256 or case.shape["epilogue"] != "none":
        return
    weights = [_bf16(n, k) for _ in copies(2.0 * n * k)]
    x = _bf16(m, k)
    yield Contender(named("torch bf16", "torch"), [lambda w=w: x @ w.t() for w in weights])


def torchao_mm(case: Case, sets: Sets) -> Iterator[Contender]:
    """torchao's Triton kernel with both scales, autotuned; where the aims are, as tuning takes
    seconds for each shape."""
    shape = case.shape
    wanted = shape["product"] in ("up", "down") and shape["epilogue"] == "none"
    if find_spec("torchao") is None or not wanted or shape["m"] < 2048:
        return
    from torchao.prototype.quantized_training.int8_mm import scaled_int8_mm

    calls = []
    for i in sets.sets:
        scales = (i.row_scale.bfloat16(), i.col_scale.bfloat16())
        calls.append(lambda i=i, scales=scales: scaled_int8_mm(i.x, i.w.t(), *scales))
    yield Contender(named("torchao scaled_int8_mm", "torchao"), calls)


@triton.jit
def _copy_kernel(source, out, count, BLOCK: tl.constexpr, CHAINED: tl.constexpr):
    """int32 in, int32 out."""
    if CHAINED:
        gdc_wait()
        gdc_launch_dependents()
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(source + at, mask=at < count), mask=at < count)


@triton.jit
def _read_kernel(source, out, count, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    """int32 in, one sum out."""
    first = tl.program_id(0) * BLOCK * BLOCKS + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.int32)
    for i in range(BLOCKS):
        at = first + i * BLOCK
        total += tl.load(source + at, mask=at < count, other=0)
    tl.store(out + tl.program_id(0), tl.sum(total, 0))


def triton_copy(source: torch.Tensor, out: torch.Tensor, *, chained: bool = False) -> None:
    """A plain copy kernel: 16 bytes a thread and access, 8 KiB a program."""
    count = source.numel()
    grid = (triton.cdiv(count, COPY_BLOCK),)
    how = {"CHAINED": chained, "launch_pdl": chained}
    _copy_kernel[grid](source, out, count, BLOCK=COPY_BLOCK, num_warps=4, **how)


def triton_read(source: torch.Tensor, out: torch.Tensor) -> None:
    """A plain streaming read: 64 KiB a program, whose sum goes to `out`."""
    count = source.numel()
    grid = (triton.cdiv(count, COPY_BLOCK * READ_BLOCKS),)
    _read_kernel[grid](source, out, count, BLOCK=COPY_BLOCK, BLOCKS=READ_BLOCKS, num_warps=4)


def same_size_copy(case: Case, sets: Sets) -> Iterator[Contender]:
    """Plain copies that move as many bytes, half of them read and half written."""
    words = int(case.bytes) // 8 // COPY_BLOCK * COPY_BLOCK
    pairs = []
    for _ in copies(case.bytes / 2):
        source = torch.randint(-(2**31), 2**31 - 1, (words,), dtype=torch.int32, device="cuda")
        pairs.append((source, torch.empty_like(source)))
    calls = [lambda p=pair: triton_copy(*p) for pair in pairs]
    yield Contender(named("Triton copy", "triton"), calls)
    if torch.cuda.get_device_capability() >= (9, 0):
        calls = [lambda p=pair: triton_copy(*p, chained=True) for pair in pairs]
        yield Contender(named("Triton copy chained", "triton"), calls)
    calls = [lambda p=pair: p[1].copy_(p[0]) for pair in pairs]
    yield Contender(named("torch copy", "torch"), calls)


def read_all(case: Case, sets: Sets) -> Iterator[Contender]:
    """The ceiling of kernels that mostly read."""
    del case
    words = [one.view(torch.int32) for one in sets.sets]
    out = torch.empty(words[0].numel() // COPY_BLOCK, dtype=torch.int32, device=words[0].device)
    calls = [lambda w=w: triton_read(w, out) for w in words]
    yield Contender(named("Triton read", "triton"), calls)


def sorted_sampling(case: Case, sets: Sets) -> Iterator[Contender]:
    """torch: argmax, or sort, cumulative sum and multinomial."""
    top_p = case.shape["top_p"]

    def drawn(logits: torch.Tensor) -> torch.Tensor:
        if not top_p:
            return logits.argmax(-1)
        p, order = torch.softmax(logits.float() / 0.8, -1).sort(-1, descending=True)
        p = p.masked_fill(p.cumsum(-1) - p >= top_p, 0.0)
        return order.gather(-1, torch.multinomial(p, 1))

    calls = [lambda one=logits: drawn(one) for (logits,) in sets.sets]
    yield Contender(named("torch", "torch"), calls)


PEERS: dict[str, tuple[Callable[[Case, Sets], Iterator[Contender]], ...]] = {
    "copy": (same_size_copy,),
    "decode_attention": (sdpa_decode, xqa_decode),
    "matmul": (int_mm, torchao_mm, bf16_mm),
    "norm_quantise": (same_size_copy,),
    "prefill_attention": (sdpa_prefill, sage_prefill),
    "read": (read_all,),
    "rotary_write": (same_size_copy,),
    "sampling": (sorted_sampling,),
}
