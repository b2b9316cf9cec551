"""The end of a step: the last norm, logits, the next token of each sequence, classifier metrics."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.model.model import KaijuModel, Stream
from kernels.sampling import sampling

Classifier = Callable[[torch.Tensor], torch.Tensor]
"""From final hidden states, bf16 `[rows, hidden]`, to probabilities, float32 `[rows, heads]`."""


@dataclass(frozen=True)
class Draws:
    """How the token of each sequence is drawn, as in `kernels.sampling`."""

    temperature: NDArray[np.float32]
    """0: greedy."""
    seed: NDArray[np.int64]
    """Of the sequence."""
    step: NDArray[np.int32]
    """Number of the token in its sequence."""

    @classmethod
    def greedy(cls, count: int) -> "Draws":
        """The likeliest token of each."""
        zeros = np.zeros(count, np.int32)
        return cls(zeros.astype(np.float32), zeros.astype(np.int64), zeros)


class HeadInputs:
    """Rows to sample and how, on the device, for up to `size` sequences; and the results."""

    def __init__(self, size: int, device: torch.device | str) -> None:
        self.size = size
        is_gpu = torch.device(device).type == "cuda"
        self._copied = torch.cuda.Event() if is_gpu else None
        self._host = torch.zeros((6, size), dtype=torch.int32, pin_memory=is_gpu)
        self._device = torch.zeros((6, size), dtype=torch.int32, device=device)
        self._tokens = torch.zeros(size, dtype=torch.int32, pin_memory=is_gpu)
        self._metrics: torch.Tensor | None = None
        self._is_gpu = is_gpu
        self.rows, self.active, self.step = self._device[:3]
        self.temperature = self._device[3].view(torch.float32)
        self.seed = self._device[4:].view(-1).view(torch.int64)
        self.tokens = torch.zeros(size, dtype=torch.int32, device=device)
        self.metrics: torch.Tensor | None = None

    def fill(self, rows: NDArray[np.int32], draws: Draws) -> None:
        """Put a step's sequences in, on the host's side; as in `StepInputs.fill`."""
        if self._copied is not None:
            self._copied.synchronize()
        host, count = self._host.numpy(), len(rows)
        host[0].fill(-1)
        host[1:4].fill(0)
        host[0, :count] = rows
        host[1, :count] = 1
        host[2, :count] = draws.step
        host[3].view(np.float32)[:count] = draws.temperature
        host[4:].reshape(-1).view(np.int64)[:count] = draws.seed

    def send(self) -> None:
        """Copy it to the device, in the order of the stream."""
        self._device.copy_(self._host, non_blocking=True)
        if self._copied is not None:
            self._copied.record()

    def results(self, count: int) -> tuple[NDArray[np.int32], NDArray[np.float32] | None]:
        """Tokens and metrics of the first `count` sequences, once the device has them."""
        self._tokens.copy_(self.tokens, non_blocking=True)
        metrics = None if self.metrics is None else self.metrics[:count].cpu().numpy()
        if self._is_gpu:
            torch.cuda.current_stream(self.tokens.device).synchronize()
        return self._tokens.numpy()[:count].copy(), metrics


class Head:
    """Norm, logits and sampling, and the classifier where there is one."""

    def __init__(self, model: KaijuModel, classifier: Classifier | None = None) -> None:
        self.model, self.classifier = model, classifier

    def forward(self, work: Stream, inputs: HeadInputs) -> None:
        """The tokens, and the metrics, of the rows in `inputs`."""
        logits = self.model.logits(work, inputs.rows)
        sampling(
            logits, inputs.temperature, inputs.seed, inputs.step, active=inputs.active,
            out=inputs.tokens,
        )  # fmt: skip
        if self.classifier is None:
            return
        metrics = self.classifier(self.model.hidden(work, inputs.rows))
        if inputs.metrics is None:
            inputs.metrics = torch.empty_like(metrics)
        inputs.metrics.copy_(metrics)
