"""Subsampled targets in files: a folder of shards and a manifest that says what they are.

A row is k tokens of 4 bytes: ids as uint16 (uint32 where the vocabulary is larger, then 6 bytes),
and ln(weight) as uint16 in steps of 42 / 65535 from -40 to 2, a relative error of at most 0.03 %;
code 0 is a weight of zero. All bf16 logits of a vocabulary of 65,536 are 131,072 bytes a row, 64
tokens of them 256.

A shard is `targets-<number>.bin`: a line of JSON (rows, first row), then ids, then weights,
little-endian. `manifest.json` has the sizes and a SHA-256 of each shard, and what the caller says
of teacher and corpus. Every file is complete before it has its name; the manifest comes last, so a
folder with one is whole. A reader checks each shard once, before it reads any of it.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.model.state.files import renamed
from kernels.training.distill.subsample import Targets

MANIFEST = "manifest.json"
VERSION = 1
LOW, HIGH, CODES = -40.0, 2.0, 65534
STEP = (HIGH - LOW) / CODES


class StoreError(ValueError):
    """A folder or a file that is not what it must be: says which, and what is wrong."""


class Shard(NamedTuple):
    """One file of a manifest."""

    file: str
    first: int
    rows: int
    sha256: str


def coded(weights: torch.Tensor) -> NDArray[np.uint16]:
    """Weights as codes."""
    logs = weights.double().clamp(min=1e-300).log()
    codes = 1 + ((logs - LOW) / STEP).round().clamp(0, CODES)
    return torch.where(weights > 0, codes, 0.0).cpu().numpy().astype("<u2")


def decoded(codes: NDArray[np.uint16]) -> torch.Tensor:
    """Codes as weights, float32."""
    found = np.exp(LOW + (codes.astype(np.float64) - 1) * STEP)
    return torch.from_numpy(np.where(codes > 0, found, 0.0).astype(np.float32))


def id_type(vocab: int) -> str:
    """How ids are stored."""
    return "<u2" if vocab <= 1 << 16 else "<u4"


def row_bytes(k: int, vocab: int) -> int:
    """Bytes of one row of targets."""
    return k * (2 + np.dtype(id_type(vocab)).itemsize)


def saving(k: int, vocab: int, logit_bytes: int = 2) -> float:
    """How many times smaller than all logits."""
    return vocab * logit_bytes / row_bytes(k, vocab)


class Writer:
    """Writes targets in order of rows, `rows_per_shard` in a file; `close` writes the manifest."""

    def __init__(
        self, folder: str | os.PathLike[str], k: int, vocab: int, *,
        rows_per_shard: int = 1 << 16, about: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if k < 1 or k > vocab or rows_per_shard < 1:
            raise ValueError(f"k: is {k}, must be 1 to {vocab}; rows_per_shard: {rows_per_shard}")
        self.folder, self.k, self.vocab = Path(folder), k, vocab
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / MANIFEST).exists():
            raise StoreError(f"{self.folder}: has a {MANIFEST} already")
        self._per_shard, self._about = rows_per_shard, dict(about or {})
        self._shards: list[Shard] = []
        self._ids: list[NDArray[Any]] = []
        self._codes: list[NDArray[np.uint16]] = []
        self._held = 0

    def add(self, targets: Targets) -> None:
        """The next rows. Raises ValueError for another k."""
        if targets.ids.shape[1] != self.k:
            raise ValueError(f"targets: have k {targets.ids.shape[1]}, must have {self.k}")
        self._ids.append(targets.ids.clamp(min=0).cpu().numpy().astype(id_type(self.vocab)))
        self._codes.append(coded(targets.weights))
        self._held += len(targets.ids)
        while self._held >= self._per_shard:
            self._flush(self._per_shard)

    def close(self) -> Path:
        """Write what is left, and the manifest; its path."""
        if self._held:
            self._flush(self._held)
        manifest = {
            "version": VERSION, "k": self.k, "vocab": self.vocab,
            "rows": sum(s.rows for s in self._shards), "about": self._about,
            "shards": [s._asdict() for s in self._shards],
        }  # fmt: skip
        with renamed(self.folder / MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        return self.folder / MANIFEST

    def _flush(self, rows: int) -> None:
        ids, codes = np.concatenate(self._ids), np.concatenate(self._codes)
        first = sum(s.rows for s in self._shards)
        head = json.dumps({"first": first, "rows": rows}).encode() + b"\n"
        data = head + ids[:rows].tobytes() + codes[:rows].tobytes()
        name = f"targets-{len(self._shards):05d}.bin"
        with renamed(self.folder / name) as temporary:
            temporary.write_bytes(data)
        self._shards.append(Shard(name, first, rows, hashlib.sha256(data).hexdigest()))
        self._ids, self._codes = [ids[rows:]], [codes[rows:]]
        self._held -= rows


class Reader:
    """Reads rows of a folder. Raises StoreError where it is not whole."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        manifest = _manifest(self.folder / MANIFEST)
        self.k, self.vocab = int(manifest["k"]), int(manifest["vocab"])
        self.rows, self.about = int(manifest["rows"]), dict(manifest["about"])
        self.shards = [Shard(**each) for each in manifest["shards"]]
        ends = np.cumsum([s.rows for s in self.shards])
        if [s.first for s in self.shards] != [0, *ends[:-1]] or sum(ends[-1:]) != self.rows:
            raise StoreError(f"{self.folder / MANIFEST}: shards do not follow one another")
        self._open: dict[int, tuple[NDArray[Any], NDArray[np.uint16]]] = {}

    def read(self, first: int, count: int) -> Targets:
        """Rows first to first + count, on the CPU. Raises ValueError outside of them."""
        if first < 0 or count < 0 or first + count > self.rows:
            raise ValueError(f"rows: {first} to {first + count}, must lie in 0 to {self.rows}")
        ids, codes = [np.zeros((0, self.k), np.int32)], [np.zeros((0, self.k), np.uint16)]
        for number, shard in enumerate(self.shards):
            low, high = max(first, shard.first), min(first + count, shard.first + shard.rows)
            if low < high:
                part = slice(low - shard.first, high - shard.first)
                of_ids, of_codes = self._shard(number)
                ids.append(of_ids[part].astype(np.int32))
                codes.append(of_codes[part])
        weights = decoded(np.concatenate(codes))
        found = torch.from_numpy(np.concatenate(ids))
        return Targets(torch.where(weights > 0, found, -1), weights)

    def _shard(self, number: int) -> tuple[NDArray[Any], NDArray[np.uint16]]:
        if number not in self._open:
            self._open[number] = self._checked(self.shards[number])
        return self._open[number]

    def _checked(self, shard: Shard) -> tuple[NDArray[Any], NDArray[np.uint16]]:
        path = self.folder / shard.file
        try:
            data = np.memmap(path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: cannot be read: {error}") from error
        if hashlib.sha256(data.data).hexdigest() != shard.sha256:
            raise StoreError(f"{path}: SHA-256 is not that of the manifest: the file is damaged")
        at = bytes(data[:256]).index(b"\n") + 1
        kind = np.dtype(id_type(self.vocab))
        size = shard.rows * self.k
        ids = data[at : at + size * kind.itemsize].view(kind).reshape(shard.rows, self.k)
        codes = data[at + size * kind.itemsize :].view("<u2").reshape(shard.rows, self.k)
        return ids, codes


def discard(folder: str | os.PathLike[str]) -> None:
    """Remove targets that were written there, the manifest first, and nothing else."""
    place = Path(folder)
    (place / MANIFEST).unlink(missing_ok=True)
    for shard in sorted(place.glob("targets-?????.bin")):
        shard.unlink()


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read as a manifest: {error}") from error
    wanted = {"version", "k", "vocab", "rows", "about", "shards"}
    if not isinstance(manifest, dict) or wanted - set(manifest):
        raise StoreError(f"{path}: must be an object with {', '.join(sorted(wanted))}")
    if manifest["version"] != VERSION:
        raise StoreError(f"{path}: version is {manifest['version']}, must be {VERSION}")
    return manifest
