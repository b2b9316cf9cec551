"""The classifier head: one linear layer on the final hidden state, of which each output is a named
property of the text so far, and its sigmoid the probability of it.

It reads the state that the logits are made from (after the last norm and clamp), so it costs one
small product a row, and every row has its probabilities: token-level metrics. A row's state has
read the row's own token and what precedes it, but not the token drawn from it.
"""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from kernels.common import checks

BASE_RATE = -2.0
"""Mean bias of random heads: most properties are rare (sigmoid: 0.12)."""
SPREAD = 1.0
"""Standard deviation of a random head's logit over rows, and of the biases over heads."""


class HeadNames:
    """The names of a classifier's outputs, in their order. Raises ValueError at an empty name, a
    name given twice, or none at all."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self._index = {name: index for index, name in enumerate(self.names)}
        if not self.names or not all(isinstance(name, str) and name for name in self.names):
            raise ValueError("heads: must be one or more names, none of them empty")
        if len(self._index) < len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise ValueError(f"heads: given more than once: {', '.join(twice)}")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeadNames) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)

    def index(self, name: str, used_by: str = "heads") -> int:
        """The column of a head. ValueError, naming who asked, if there is no such head."""
        if name in self._index:
            return self._index[name]
        near = difflib.get_close_matches(name, self.names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"{used_by}: the classifier has no head {name!r} (it has {len(self)}){hint}"
        )


@dataclass(frozen=True, eq=False)
class Classifier:
    """Named linear heads. Raises ValueError where names, weights and biases do not fit."""

    heads: HeadNames
    """Names of the n outputs."""
    weight: torch.Tensor
    """float32 `[n, hidden]`."""
    bias: torch.Tensor
    """float32 `[n]`."""

    def __post_init__(self) -> None:
        checks.tensor("classifier.weight", self.weight, (len(self.heads), None), torch.float32)
        device = self.weight.device
        checks.tensor("classifier.bias", self.bias, (len(self.heads),), torch.float32, device)

    @property
    def hidden(self) -> int:
        """Width of the state that it reads."""
        return self.weight.shape[1]

    def logits(self, state: torch.Tensor) -> torch.Tensor:
        """float32 `[rows, n]` from float `[rows, hidden]`. No value is read by the host: this can
        be part of a CUDA graph."""
        floats = (torch.float32, torch.bfloat16, torch.float16)
        checks.tensor("state", state, (None, self.hidden), floats, self.weight.device)
        return torch.addmm(self.bias, state.float(), self.weight.T)

    def metrics(self, state: torch.Tensor) -> torch.Tensor:
        """The probabilities of every row, float32 `[rows, n]`."""
        return self.logits(state).sigmoid_()


def numbered_heads(count: int) -> HeadNames:
    """Names for heads that mean nothing: head_000 and so on."""
    return HeadNames(f"head_{index:03d}" for index in range(count))


def random_classifier(
    heads: HeadNames, hidden: int, seed: int = 0, device: torch.device | str = "cpu"
) -> Classifier:
    """Seeded heads for a state whose root mean square is 1, as a norm leaves it: logits of one head
    are about N(bias, SPREAD), so no probability is stuck at 0 or 1. The same on every device."""
    if hidden < 1:
        raise ValueError(f"hidden: is {hidden}, must be at least 1")
    source = torch.Generator("cpu").manual_seed(seed)
    weight = torch.randn((len(heads), hidden), generator=source) * (SPREAD / hidden**0.5)
    bias = BASE_RATE + SPREAD * torch.randn(len(heads), generator=source)
    return Classifier(heads, weight.to(device), bias.to(device))
