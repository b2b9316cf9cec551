"""The calibration profile: measured operator curves of one model on one GPU, in one JSON file.

A profile is the only thing that passes from the GPU to the simulator. It holds points per operator
(x, seconds), the host overhead per step, the KV blocks that the real engine got, its provenance,
and how far it was off on measurements that the fit did not see. `docs/model.md` describes
each key; `kaiju_sim.steptime.convert` turns a profile into step-time curves.

Reading is strict: unknown or missing keys, wrong types, NaN, x that does not increase, times that
fall, are one-line errors that name the file and the key.
"""

import datetime
import json
import re
from difflib import get_close_matches
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError, model_validator

from kaiju_sim.errors import UserError
from kaiju_sim.steptime.part import EngineHost, Part

FORMAT: Final = "kaiju-step-time"
VERSION: Final = 3
MAX_BYTES = 16 * 2**20
MAX_POINTS = 100_000
MAX_X = 2**48
MAX_SECONDS = 1e5
DIP = 0.1
"""A measured time may lie this share below an earlier point's (noise, a change of kernel)."""


class Points(Part):
    """Measured points of one operator."""

    x: tuple[int, ...] = Field(min_length=2, max_length=MAX_POINTS)
    """What the operator depends on (rows, sequences, tokens or pairs), increasing, from 1 up."""
    seconds: tuple[float, ...] = Field(min_length=2, max_length=MAX_POINTS)
    """Time at each x, summed over all layers."""

    @model_validator(mode="after")
    def _sound(self) -> "Points":
        if len(self.x) != len(self.seconds):
            raise ValueError(f"x has {len(self.x)} points, seconds {len(self.seconds)}")
        _check_x(self.x)
        _check_seconds(self.seconds)
        return self


def _check_x(x: tuple[int, ...]) -> None:
    if x[0] < 1 or x[-1] > MAX_X:
        raise ValueError(f"x must lie between 1 and 2**48, has {x[0]} to {x[-1]}")
    for i in range(1, len(x)):
        if x[i] <= x[i - 1]:
            raise ValueError(f"x must increase: point {i} is {x[i]} after {x[i - 1]}")


def _check_seconds(seconds: tuple[float, ...]) -> None:
    highest = 0.0
    for i, value in enumerate(seconds):
        if not 0 <= value <= MAX_SECONDS:
            raise ValueError(
                f"seconds must lie between 0 and {MAX_SECONDS:g}: point {i} is {value}"
            )
        if value < (1 - DIP) * highest:
            raise ValueError(
                f"seconds must not fall by over {DIP:.0%}: point {i} is {value} after {highest}"
            )
        highest = max(highest, value)


class OperatorCurves(Part):
    """Points of each operator; x as in `kaiju_sim.steptime.curves`."""

    rows: Points
    """All that depends on the token rows of a step, by rows."""
    seqs: Points
    """Output head and sampler, by sequences that sample."""
    decode_global: Points
    """Decode attention of global layers, by the sum of contexts."""
    decode_local: Points
    """Decode attention of local layers, by the sum of min(context, window)."""
    prefill_global: Points
    """Prefill attention of global layers, by query-key pairs as rounds cost."""
    prefill_local: Points
    """Prefill attention of local layers, by those within the window, as rounds cost."""
    decode_each: Points
    """Latency of one sequence's decode attention, by the mean of min(context, window)."""


class Provenance(Part):
    """Where, when and with what the points were measured."""

    gpu_name: str = Field(min_length=1)
    """Name that the driver gives the GPU."""
    driver: str = Field(min_length=1)
    """Driver version."""
    sm_clock_mhz: float = Field(gt=0)
    """SM clock during the measurement."""
    memory_clock_mhz: float = Field(gt=0)
    """Memory clock during the measurement."""
    versions: dict[str, str] = Field(min_length=1)
    """Versions of what was run (torch, triton, cuda ...)."""
    date: datetime.date
    """Day of the measurement."""
    commit: str = Field(pattern=r"^[0-9a-f]{7,40}$")
    """Commit of the measured code."""
    samples: str = Field(min_length=1)
    """Path of the raw samples in the repository."""


class ErrorSummary(Part):
    """How far predicted step times were from measured ones."""

    n: int = Field(ge=1)
    """Steps compared."""
    median_abs_rel_error: float = Field(ge=0)
    """Median of |predicted / measured - 1|."""
    p95_abs_rel_error: float = Field(ge=0, lt=1)
    """95th percentile of the same."""
    bias: float = Field(gt=-1, lt=1)
    """Mean of predicted / measured - 1."""

    @model_validator(mode="after")
    def _ordered(self) -> "ErrorSummary":
        if self.median_abs_rel_error > self.p95_abs_rel_error:
            raise ValueError("median_abs_rel_error must not exceed p95_abs_rel_error")
        return self


class KvBlocks(Part):
    """KV memory that the real engine had left, in blocks, and the settings it had it at."""

    block_tokens: int = Field(ge=1)
    """Tokens per block in the measured engine."""
    global_blocks: int = Field(ge=1, alias="global")
    """Blocks of the global pool."""
    local_blocks: int = Field(ge=0, alias="local")
    """Blocks of the local pool; 0 when there is none."""
    window_blocks: int = Field(ge=0)
    """Blocks of a window's ring; 0 when there is no local pool."""
    memory_utilisation: float = Field(gt=0, le=1)
    """Share of HBM that the engine used."""
    token_budget: int = Field(ge=1)
    """Rows of prefill that activations were reserved for."""
    max_seqs: int = Field(ge=1)
    """Sequences that activations were reserved for."""
    prompt_limit: int = Field(ge=1)
    """Tokens of the sequences at which both pools run out together."""

    @property
    def local_windows(self) -> int:
        """Windows of the local pool; 0 when there is none."""
        return self.local_blocks // self.window_blocks if self.window_blocks else 0

    @model_validator(mode="after")
    def _paired(self) -> "KvBlocks":
        if (self.local_blocks > 0) != (self.window_blocks > 0):
            raise ValueError("local and window_blocks are both 0 (no local pool) or neither is")
        return self


class Profile(Part):
    """A calibration profile."""

    format: Literal["kaiju-step-time"]
    """Marks the file."""
    version: Literal[3]
    """Version of this format."""
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")
    """Id: the name of the profile's folder when it is shipped."""
    source: Literal["measured", "derived", "roofline"]
    """`measured` on a GPU; `derived` from another model's measured curves and a few measured steps
    of this one (scripts/derive_variants.py); or computed from a `roofline`."""
    gpu: str
    """GPU, by catalog name."""
    model: str
    """Model, by catalog name."""
    tensor_parallel: int = Field(ge=1)
    """GPUs per replica."""
    provenance: Provenance | None
    """Where the points come from; required when measured, null for a roofline."""
    curves: OperatorCurves
    """Points of each operator."""
    prefill_round_tokens: int = Field(ge=0, le=1_000_000)
    """New tokens that prefill attention takes at a time (0: any number is alike)."""
    host_overhead_s: float = Field(ge=0)
    """Host time per step that the GPU waits for."""
    engine_host: EngineHost | None = None
    """Host time of the serving engine, which is no part of a measured step; null, or not there: not
    measured, and a simulated step has none."""
    kv_blocks: KvBlocks | None
    """KV memory of the real engine; null: by memory arithmetic."""
    heldout: ErrorSummary | None
    """Error on whole steps that the fit did not see; required when measured."""
    heldout_by_kind: dict[str, ErrorSummary]
    """The same for each kind of step among them."""
    residual: ErrorSummary | None
    """Error on the whole steps of the fit itself."""

    @model_validator(mode="after")
    def _evidence(self) -> "Profile":
        if self.source != "roofline" and self.provenance is None:
            raise ValueError(f"provenance is missing: a {self.source} profile must state it")
        if self.source != "roofline" and self.heldout is None:
            raise ValueError(f"heldout is missing: a {self.source} profile must state its error")
        return self


def profile_json(profile: Profile) -> str:
    """The profile's file content."""
    absent = {"engine_host"} if profile.engine_host is None else None
    return profile.model_dump_json(indent=1, by_alias=True, exclude=absent) + "\n"


def load_profile(id_or_path: str, folder: Path | None = None) -> Profile:
    """The profile of that id (shipped with the package) or in that file.

    What contains a slash or ends in `.json` is a file, relative to *folder* (the scenario's) if
    given. UserError when there is none or it is not sound.
    """
    if "/" not in id_or_path and not id_or_path.endswith(".json"):
        return _shipped(id_or_path)
    path = Path(id_or_path) if folder is None else folder / id_or_path
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(f"profile of {size} bytes; at most {MAX_BYTES} are read", path)
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the profile: {error.strerror}", path) from error
    return parse_profile(content, str(path))


def shipped_profiles() -> list[str]:
    """Ids of the profiles in the package."""
    measured = _measured()
    if not measured.is_dir():
        return []
    return sorted(p.name for p in measured.iterdir() if p.joinpath("profile.json").is_file())


def shipped_for(gpu: str, model: str, tensor_parallel: int) -> Profile | None:
    """The measured profile in the package for these catalog names and ranks, or None."""
    name = profile_id(gpu, model, tensor_parallel)
    return _shipped(name) if name in shipped_profiles() else None


def profile_id(gpu: str, model: str, tensor_parallel: int) -> str:
    """Id, and folder, of the measured profile of a model on a GPU."""
    return f"{gpu}-{model}-tp{tensor_parallel}".lower()


def _measured() -> Traversable:
    return files("kaiju_sim.catalog").joinpath("measured")


def _shipped(name: str) -> Profile:
    known = shipped_profiles()
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        have = ", ".join(known) or "none yet"
        raise UserError(
            f"unknown profile {name[:60]!r}{hint}; shipped profiles: {have}; "
            "a file is given by a path that contains / or ends in .json"
        )
    file = _measured().joinpath(name, "profile.json")
    profile = parse_profile(file.read_bytes(), str(file))
    assert profile.id == name, f"{file}: id {profile.id!r} differs from its folder"
    return profile


def parse_profile(content: bytes, file: str) -> Profile:
    """The profile in *content*; UserError naming *file* and the key that is wrong."""
    _check_json(content, file)
    try:
        return Profile.model_validate_json(content)
    except ValidationError as error:
        raise UserError(_explain(error), file) from error


def _check_json(content: bytes, file: str) -> None:
    try:
        head = json.loads(content, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise UserError(f"not valid JSON: {error.msg}", file, error.lineno) from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UserError(f"not a profile: {error}", file) from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise UserError(f"not a profile: key 'format' must be {FORMAT!r}", file)
    if head.get("version") != VERSION:
        found = head.get("version")
        raise UserError(f"version: this program reads version {VERSION}, not {found!r}", file)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(k for k in keys if keys.count(k) > 1)!r} appears twice")
    return content


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that a profile may hold")


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=True)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = _plain(first["type"], first["msg"], str(first["loc"][-1]) if first["loc"] else "")
    if first["type"] in _SHOWN and isinstance(first["input"], str | int | float):
        message += f", not {str(first['input'])[:60]!r}"
    return f"{where}: {message}" if where else message


_SHOWN = ("literal_error", "string_pattern_mismatch", "int_type", "float_type", "string_type")


def _plain(kind: str, message: str, key: str) -> str:
    if kind == "missing":
        return "this key is missing"
    if kind == "extra_forbidden":
        near = get_close_matches(key, _known_keys(), n=1)
        return "unknown key" + (f" (did you mean {near[0]!r}?)" if near else "")
    return re.sub(r"^Value error, ", "", message)


def _known_keys() -> list[str]:
    parts = (Profile, Provenance, OperatorCurves, Points, ErrorSummary, KvBlocks, EngineHost)
    fields = [field for part in parts for field in part.model_fields.items()]
    return sorted({info.alias or name for name, info in fields})
