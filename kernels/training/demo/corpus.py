"""Text, as bytes in windows: which window is trained on when is a function of the seed alone.

"pydoc" is the language reference that comes with Python (about half a megabyte of English), and
"stdlib" the sources of its standard library (6 MB of them, in a mixed order); so they differ
between versions of Python, and a run notes the SHA-256 of what it learnt from. Every document ends
with a zero byte.
"""

import hashlib
import sysconfig
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.model.config import ModelConfig
from kernels.training.attention.blocks import Blocks, Seen, make_blocks

HELD_OUT = 20
"""Every so-many-th window is held out."""
MOST_BYTES = 6_000_000


class Corpus(NamedTuple):
    """Bytes in windows of `context + 1`, the last of each being the first of the next."""

    text: NDArray[np.uint8]
    context: int
    sha256: str

    @property
    def windows(self) -> int:
        """How many there are."""
        return (len(self.text) - 1) // self.context

    @property
    def trained(self) -> int:
        """How many are trained on."""
        return self.windows - self.windows // HELD_OUT

    @property
    def held_out(self) -> NDArray[np.int64]:
        """Those that are not: one in twenty."""
        return np.arange(HELD_OUT - 1, self.windows, HELD_OUT)

    def window(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """The windows of these numbers below `trained`: held-out ones are passed over."""
        return number + number // (HELD_OUT - 1)

    def batch(self, windows: NDArray[np.int64]) -> torch.Tensor:
        """int64 `[windows, context + 1]`."""
        at = windows[:, None] * self.context + np.arange(self.context + 1)
        return torch.from_numpy(self.text[at].astype(np.int64))


def load(name: str, context: int) -> Corpus:
    """A corpus by its name, or a file. Raises ValueError if it is too short."""
    documents = _documents(name)
    joined = b"\0".join(d.replace(b"\0", b" ") for d in documents) + b"\0"
    text = np.frombuffer(joined[:MOST_BYTES], np.uint8)
    corpus = Corpus(text, context, hashlib.sha256(text.tobytes()).hexdigest())
    if corpus.windows < HELD_OUT:
        raise ValueError(f"corpus: {name} has {len(text)} bytes, too few for windows of {context}")
    return corpus


def _documents(name: str) -> list[bytes]:
    if name == "pydoc":
        from pydoc_data.topics import topics

        return [topics[key].encode() for key in sorted(topics)]
    if name == "stdlib":
        root = Path(sysconfig.get_paths()["stdlib"])
        own = (p for p in root.rglob("*.py") if not {"site-packages", "test"} & set(p.parts))
        # In an order that is no alphabet: what is held out is like the rest.
        mixed = sorted(
            own, key=lambda p: hashlib.sha256(str(p.relative_to(root)).encode()).digest()
        )
        return [p.read_bytes() for p in mixed]
    try:
        return [Path(name).read_bytes()]
    except OSError as error:
        raise ValueError(
            f"corpus: {name} is neither pydoc nor stdlib, nor a file: {error}"
        ) from error


def order(corpus: Corpus, seed: int, first: int, count: int) -> NDArray[np.int64]:
    """The windows of training sequences number first to first + count: each epoch has its own
    permutation of all."""
    numbers = np.arange(first, first + count)
    found = np.empty(count, np.int64)
    for epoch in np.unique(numbers // corpus.trained):
        mine = numbers // corpus.trained == epoch
        permuted = np.random.default_rng((seed, int(epoch))).permutation(corpus.trained)
        found[mine] = permuted[numbers[mine] % corpus.trained]
    return corpus.window(found)


class Packed(NamedTuple):
    """What a model needs of a batch beside the tokens: positions within documents, int64
    `[batch, context]`, and what global and local layers see."""

    positions: torch.Tensor
    blocks: dict[str, Blocks]


def pack(tokens: torch.Tensor, config: ModelConfig) -> Packed:
    """Visibility of documents packed into windows: a token sees its own document only."""
    at = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    begins = torch.zeros_like(tokens)
    begins[:, 1:] = torch.where(tokens[:, :-1] == 0, at[:, 1:], 0)
    start = begins.cummax(1).values
    limit = (at + 1).int().contiguous()
    starts = {"global": start}
    if config.window is not None:
        starts["local"] = torch.maximum(start, at - config.window + 1)
    blocks = {kind: make_blocks(Seen(of.int(), limit)) for kind, of in starts.items()}
    return Packed(at - start, blocks)
