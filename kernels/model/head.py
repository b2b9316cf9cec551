"""The end of a step: the last norm, logits, the next token of each sequence, classifier metrics."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from kernels.model.model import KaijuModel, Stream
from kernels.model.steps.step import StepInputs
from kernels.sampling import sampling

Classifier = Callable[[torch.Tensor], torch.Tensor]
"""From final hidden states, bf16 `[rows, hidden]`, to probabilities, float32 `[rows, heads]`."""


BLOCK = 256


@triton.jit(do_not_specialize=["count"])
def _put_tokens(tokens_ptr, drawn_ptr, count, most, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    token = tl.load(tokens_ptr + at, mask=at < count, other=0)
    drawn = tl.load(drawn_ptr - 1 - token, mask=(token < 0) & (token >= -most), other=0)
    tl.store(tokens_ptr + at, tl.where(token < 0, drawn, token), mask=at < count)


class _There(NamedTuple):
    """Results on the host, pinned where there is a GPU."""

    tokens: torch.Tensor
    metrics: torch.Tensor | None


class Head:
    """Norm, logits and sampling, and the classifier where there is one, for up to `most` sequences.

    Which rows are sampled and how lies on the device, where `take` puts it at the beginning of a
    step; the results are copied to the host at its end. So the head of a number of sequences is one
    graph, whatever the step's shape. Each such number has memory of its own on the host: capturing
    runs the work once, maybe before the results of the step before have been fetched.
    """

    def __init__(
        self, model: KaijuModel, classifier: Classifier | None = None, most: int = 640
    ) -> None:
        self.model, self.classifier, self.most = model, classifier, most
        device = model.device
        self._is_gpu = device.type == "cuda"
        self._sampled = torch.zeros((4, most), dtype=torch.int32, device=device)
        self._seed = torch.zeros(most, dtype=torch.int64, device=device)
        self._tokens = torch.zeros(most, dtype=torch.int32, device=device)
        self._there: dict[int, _There] = {}

    def take(self, inputs: StepInputs) -> None:
        """Keep a step's sampled sequences on the device."""
        size = inputs.shape.samples
        self._sampled[:, :size].copy_(inputs["sampled"])
        self._seed[:size].copy_(inputs["sampled_seed"].view(torch.int64))

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """The tokens drawn last stay what they are, whatever the block draws and however it leaves
        the stream: a step that is staged may name them."""
        drawn = self._tokens.clone()
        yield
        self._tokens.copy_(drawn)

    def put_tokens(self, tokens: torch.Tensor) -> None:
        """Replace -1 - i by the token that the step before drew for its i-th sampled sequence."""
        _put_tokens[(triton.cdiv(len(tokens), BLOCK),)](
            tokens, self._tokens, len(tokens), self.most, BLOCK=BLOCK
        )

    def forward(self, work: Stream, size: int) -> None:
        """Tokens, and metrics, of the first `size` of the sequences that were taken; they are on
        their way to the host."""
        rows, active, step, temperature = self._sampled[:, :size]
        logits = self.model.logits(work, rows)
        sampling(
            logits, temperature.view(torch.float32), self._seed[:size], step, active=active,
            out=self._tokens[:size],
        )  # fmt: skip
        metrics = None
        if self.classifier is not None:
            metrics = self.classifier(self.model.hidden(work, rows))
        there = self._host(size, metrics)
        there.tokens.copy_(self._tokens[:size], non_blocking=True)
        if metrics is not None and there.metrics is not None:
            there.metrics.copy_(metrics, non_blocking=True)

    def results(
        self, size: int, count: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32] | None]:
        """Tokens and metrics of the first `count` sequences of the step that ended last, of those
        whose head was run for `size`."""
        if not count:
            return np.zeros(0, np.int32), None
        tokens, metrics = self._there[size]
        found = None if metrics is None else metrics[:count].numpy().copy()
        return tokens[:count].numpy().copy(), found

    def _host(self, size: int, metrics: torch.Tensor | None) -> _There:
        if size not in self._there:
            tokens = torch.zeros(size, dtype=torch.int32, pin_memory=self._is_gpu)
            room = None if metrics is None else torch.zeros(metrics.shape, pin_memory=self._is_gpu)
            self._there[size] = _There(tokens, room)
        return self._there[size]
