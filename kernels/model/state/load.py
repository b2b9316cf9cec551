"""A model's tensors from safetensors files, strictly, and into them.

A checkpoint is one `.safetensors` file, or several with an index in JSON that says which file has
which tensor (`{"metadata": {...}, "weight_map": {name: file}}`, as Hugging Face writes it).
`docs/model-weights.md` describes the tensors.

Names, shapes and types are compared with a layout from the files' headers, before any tensor is
read. Nothing is converted and nothing is skipped: every difference is an error.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from kernels.model.state.files import renamed

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
SHOWN = 3
"""Names that a message lists of one kind of difference."""

DTYPES = {
    "I8": torch.int8, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F64": torch.float64, "I32": torch.int32, "I64": torch.int64, "U8": torch.uint8,
}  # fmt: skip
"""Types by their names in a file's header; of other types the header's name is told."""

Dims = Sequence[int | None]
State = dict[str, torch.Tensor]
Share = Callable[[str, torch.Tensor], torch.Tensor]


class StateError(ValueError):
    """A checkpoint that is not what the model needs: says which file, which tensor, what it is and
    what it must be."""


class Spec(Protocol):
    """What a tensor must be, as `kernels.model.state.weights.TensorSpec`."""

    @property
    def shape(self) -> Dims:
        """None: any size."""

    @property
    def dtype(self) -> torch.dtype:
        """Exactly this type."""


class AnySpec(NamedTuple):
    """A `Spec` whose sizes may be open."""

    shape: tuple[int | None, ...]
    """None: any size."""
    dtype: torch.dtype
    """Exactly this type."""


class _Header(NamedTuple):
    """One tensor of a file, as its header has it."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype | str


def classifier_layout(hidden: int) -> dict[str, AnySpec]:
    """The optional tensors of a classifier head over `hidden` channels, of any number of heads."""
    return {
        "classifier.weight": AnySpec((None, hidden), torch.float32),
        "classifier.bias": AnySpec((None,), torch.float32),
    }


def load_state(
    path: str | os.PathLike[str],
    layout: Mapping[str, Spec],
    device: torch.device | str = "cpu",
    *,
    optional: Mapping[str, Spec] | None = None,
    share: Share | None = None,
) -> State:
    """Reads every tensor of `layout`, in its order, then the `optional` ones: all or none of them.

    `path`: a `.safetensors` file, an index, or a folder with either. `share(name, tensor)` picks a
    part of each (a rank's, `weights.shard`) before it goes to the device; one whole
    tensor at a time is in memory beside what is kept. Raises StateError.
    """
    headers = _headers(_files(Path(path)))
    optional = optional or {}
    wanted = dict(layout)
    if any(name in headers for name in optional):
        wanted |= optional
    _compare(Path(path), headers, wanted)
    return _read(headers, wanted, torch.device(device), share)


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The texts that were saved with a checkpoint; of several files, those in the index that are
    texts. Raises StateError."""
    place = _place(Path(path))
    if place.suffix == ".json":
        found = _index(place).get("metadata") or {}
        return {key: value for key, value in found.items() if isinstance(value, str)}
    with _open(place) as file:
        return dict(file.metadata() or {})


def save_state(
    path: str | os.PathLike[str],
    state: Mapping[str, torch.Tensor],
    *,
    metadata: Mapping[str, str] | None = None,
    shard_bytes: int | None = None,
) -> None:
    """Writes a checkpoint: the file `path`, or with `shard_bytes` several files of at most so many
    bytes of tensors and an index in the folder `path`. Each is complete before it has its name.

    A tensor that is larger than `shard_bytes` has a file of its own. Tensors are written as they
    are; those that are not contiguous are copied first. Raises OSError.
    """
    texts = {"format": "pt", **(metadata or {})}
    if shard_bytes is None:
        _write(Path(path), state, texts)
        return
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    groups = _groups(state, shard_bytes)
    weight_map: dict[str, str] = {}
    for number, names in enumerate(groups, 1):
        file = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        _write(folder / file, {name: state[name] for name in names}, {"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    size = sum(value.nbytes for value in state.values())
    index = {"metadata": {"total_size": size, **texts}, "weight_map": weight_map}
    with renamed(folder / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


# Files.


def _place(path: Path) -> Path:
    """The file that `path` means."""
    if not path.is_dir():
        return path
    for name in (INDEX, SINGLE):
        if (path / name).exists():
            return path / name
    raise StateError(f"{path}: has neither {INDEX} nor {SINGLE}")


def _files(path: Path) -> dict[Path, frozenset[str] | None]:
    """The files of a checkpoint, with the tensors that each must have if an index says so."""
    place = _place(path)
    if place.suffix != ".json":
        return {place: None}
    weight_map = _index(place)["weight_map"]
    for name, file in weight_map.items():
        if not isinstance(file, str) or file != Path(file).name or not file:
            raise StateError(f"{place}: {name}: is in {file!r}, must be a file name")
    files = sorted(set(weight_map.values()))
    return {
        place.parent / file: frozenset(name for name, at in weight_map.items() if at == file)
        for file in files
    }


def _index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StateError(f"{path}: cannot be read as an index: {error}") from error
    if not isinstance(index, dict) or not isinstance(index.get("weight_map"), dict):
        raise StateError(f"{path}: must be an object with a weight_map")
    return index


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """A file's header, and its tensors on the CPU, mapped and not yet read."""
    try:
        file = safe_open(path, framework="pt", device="cpu")
    except (OSError, SafetensorError) as error:
        raise StateError(f"{path}: cannot be read as safetensors: {error}") from error
    with file:
        yield file


def _headers(files: Mapping[Path, frozenset[str] | None]) -> dict[str, _Header]:
    """Every tensor that there is, by name."""
    headers: dict[str, _Header] = {}
    for path, expected in files.items():
        with _open(path) as file:
            found = {name: _header(path, file.get_slice(name)) for name in file.keys()}  # noqa: SIM118
        if expected is not None:
            _compare_index(path, expected, frozenset(found))
        headers |= found
    return headers


def _compare_index(path: Path, expected: frozenset[str], found: frozenset[str]) -> None:
    """A file of several has exactly the tensors that the index says: so none is there twice."""
    if gone := sorted(expected - found):
        raise StateError(f"{path}: has no {_few(gone)}, must have by the index")
    if more := sorted(found - expected):
        raise StateError(f"{path}: has {_few(more)}, must not have by the index")


def _header(path: Path, part: Any) -> _Header:
    kind = part.get_dtype()
    return _Header(path, tuple(part.get_shape()), DTYPES.get(kind, kind))


# Comparing.


def _compare(path: Path, headers: Mapping[str, _Header], wanted: Mapping[str, Spec]) -> None:
    """One StateError with all differences: missing, unknown, misshapen and mistyped tensors."""
    missing = [name for name in wanted if name not in headers]
    unknown = [name for name in headers if name not in wanted]
    both = [(name, headers[name], spec) for name, spec in wanted.items() if name in headers]
    wrong = [text for each in both if (text := _difference(*each))]
    problems = []
    if missing:
        problems.append(f"{path}: missing {_count(missing)}: {_few(missing)}")
    if unknown:
        problems.append(f"{path}: not of this model {_count(unknown)}: {_few(unknown)}")
    problems += wrong[:SHOWN]
    if len(wrong) > SHOWN:
        problems.append(f"and {len(wrong) - SHOWN} more of wrong shape or type")
    if problems:
        raise StateError("\n".join(problems))


def _difference(name: str, header: _Header, spec: Spec) -> str:
    """What is wrong with one tensor; empty if nothing is."""
    shape = tuple(spec.shape)
    fits = len(header.shape) == len(shape) and all(
        want is None or size == want for size, want in zip(header.shape, shape, strict=True)
    )
    if not fits:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        return f"{header.file}: {name}: shape is {list(header.shape)}, must be [{sizes}]"
    if header.dtype != spec.dtype:
        return f"{header.file}: {name}: dtype is {_type(header.dtype)}, must be {_type(spec.dtype)}"
    return ""


def _type(dtype: torch.dtype | str) -> str:
    return str(dtype).removeprefix("torch.")


def _count(names: Sequence[str]) -> str:
    return "1 tensor" if len(names) == 1 else f"{len(names)} tensors"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


# Reading and writing tensors.


def _read(
    headers: Mapping[str, _Header],
    wanted: Mapping[str, Spec],
    device: torch.device,
    share: Share | None,
) -> State:
    found: State = {}
    for path in dict.fromkeys(headers[name].file for name in wanted):
        with _open(path) as file:
            for name in wanted:
                if headers[name].file == path:
                    value = file.get_tensor(name)
                    _check_finite(path, name, value)
                    value = share(name, value) if share else value
                    found[name] = value.to(device)
    return {name: found[name] for name in wanted}


def _check_finite(path: Path, name: str, value: torch.Tensor) -> None:
    """NaN in a scale would be a model that answers NaN everywhere, far from its cause."""
    if value.is_floating_point() and value.numel():
        # The extremes are NaN if any value is, and infinite if any is: one pass, no mask.
        low, high = value.aminmax()
        if not (math.isfinite(low) and math.isfinite(high)):
            raise StateError(f"{path}: {name}: has NaN or infinity, must be finite")


def _groups(state: Mapping[str, torch.Tensor], most: int) -> list[list[str]]:
    """Names in order, cut where a file would be larger than `most` bytes."""
    if most < 1:
        raise ValueError(f"shard_bytes: is {most}, must be at least 1")
    groups: list[list[str]] = [[]]
    size = 0
    for name, value in state.items():
        if groups[-1] and size + value.nbytes > most:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += value.nbytes
    return groups


def _write(path: Path, state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    tensors = {name: value.detach().contiguous() for name, value in state.items()}
    with renamed(path) as temporary:
        save_file(tensors, temporary, dict(metadata))
