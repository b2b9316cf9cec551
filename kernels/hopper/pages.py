"""How the copy engine fetches KV pages on Hopper: descriptors of a page's K and V, and of parts."""

import torch
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from kernels.common.layout import HEAD_DIM, PAGE, KVPages

V_ROWS, V_WORDS = 16, 256


def _keys(kv: KVPages, tokens: int) -> TensorDescriptor:
    rows = gl.NVMMASharedLayout(128, 8 * kv.k.element_size(), 2)
    return TensorDescriptor.from_tensor(kv.k.view(-1, HEAD_DIM), [tokens, HEAD_DIM], rows)


def _values(kv: KVPages, rows: int) -> TensorDescriptor:
    """V in int8. A page of it is contiguous: as rows of 1 KiB the copy engine moves it fastest."""
    words = kv.v.view(torch.int32).view(-1, V_WORDS)
    return TensorDescriptor.from_tensor(words, [rows, V_WORDS], gl.NVMMASharedLayout(0, 32, 2))


def page_descriptors(kv: KVPages) -> tuple[TensorDescriptor, TensorDescriptor]:
    """For a page's K, and for its V: in one piece of int8, or as float16 rows like K."""
    if kv.is_int8:
        return _keys(kv, PAGE), _values(kv, V_ROWS)
    return _keys(kv, PAGE), _keys(kv._replace(k=kv.v), PAGE)


def quarter_descriptors(kv: KVPages) -> tuple[TensorDescriptor | None, TensorDescriptor | None]:
    """The same for a quarter of a page, 32 tokens; None of float16 pages."""
    if not kv.is_int8:
        return None, None
    return _keys(kv, PAGE // 4), _values(kv, V_ROWS // 4)
