"""Compiles a Triton or Gluon kernel for sm_90a (H100) without a GPU, and reads the machine code.

    code = sm90.compile(
        "kernels.matmul", "_kernel",
        signature={"x": "*i8", "scale": "*fp32", "m": "i32", "w": sm90.descriptor("i8", 128, 128)},
        constants={"BLOCK_M": 128}, divisible_by_16=("x", "scale"), num_warps=8, num_stages=3,
    )
    assert code.spills == 0 and code.registers <= 168
    assert code.count("IGMMA") and not code.loop.count("LDG")
    assert code.loop.count("LDGSTS") == code.loop.count("LDGSTS", width=16)

`signature` names each argument that is no constant; `constants` may hold whatever can be pickled,
Gluon layouts included. Further keywords are the compiler's options (`maxnreg`, `num_ctas`).

The tests' own process interprets Triton, so a second one compiles: it is started once per process
of pytest, and again if the compiler takes it down. What is asked twice is answered from memory.
"""

import atexit
import os
import pickle
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
MMA = ("IGMMA", "HGMMA", "QGMMA", "IMMA", "HMMA")
COPIES = ("UTMALDG", "LDGSTS", "LDG", "LDS")
SPILLS = ("STL", "LDL")
WIDTHS = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16}
INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?PT?\d*\s+)?([A-Z][\w.]*)")
LABEL = re.compile(r"^(\.L_[\w$]+):")
BRANCH = re.compile(r"\bBRA\b.*`\((\.L_[\w$]+)\)")


class CompileError(Exception):
    """The compiler refused, or crashed."""


def base(opcode: str) -> str:
    """`LDG` of `LDG.E.128.CONSTANT`."""
    return opcode.partition(".")[0]


def width_of(opcode: str) -> int:
    """Bytes that a thread moves with this load, store or copy."""
    return next((WIDTHS[part] for part in opcode.split(".") if part in WIDTHS), 4)


@dataclass(frozen=True)
class Instructions:
    """Machine instructions, counted by their full names (`LDG.E.128`)."""

    opcodes: Mapping[str, int]

    def count(self, *names: str, width: int | None = None) -> int:
        """How many there are of some kinds (`LDG`), or of those that move this many bytes."""
        return sum(
            number
            for opcode, number in self.opcodes.items()
            if base(opcode) in names and width in (None, width_of(opcode))
        )

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.opcodes.values())

    @property
    def kinds(self) -> Counter[str]:
        """The same, counted by `LDG` instead of `LDG.E.128`; for people."""
        found: Counter[str] = Counter()
        for opcode, number in self.opcodes.items():
            found[base(opcode)] += number
        return found


@dataclass(frozen=True)
class Code(Instructions):
    """A compiled kernel. Counts are of the whole of it; `loop` is its main loop."""

    registers: int
    """Per thread. A warp-specialised Gluon kernel moves them about: see `setmaxnreg` in `ptx`."""
    local_bytes: int
    """Stack of a thread: 0 if nothing spills."""
    shared: int
    """Bytes of a CTA."""
    ptx: str = field(repr=False)
    sass: str = field(repr=False)
    loops: tuple[Instructions, ...] = ()
    """Every loop: by matrix instructions, then copies (most first), then length (least first)."""

    @property
    def loop(self) -> Instructions:
        """The loop that does the work."""
        return self.loops[0] if self.loops else Instructions({})

    @property
    def spills(self) -> int:
        """Instructions that move registers to and from the stack."""
        return self.count(*SPILLS)

    @cached_property
    def mma(self) -> Counter[str]:
        """Matrix instructions in PTX: `wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8`."""
        return Counter(re.findall(r"(?:wgmma\.mma_async|mma\.sync)[\w.]+", self.ptx))

    @cached_property
    def async_bytes(self) -> Counter[int]:
        """Widths of `cp.async` in PTX, with how many there are of each."""
        found = re.findall(
            r"cp\.async\.c[ag]\.shared\.global[^;]*?, (0x[0-9a-f]+|\d+)[,;]", self.ptx
        )
        return Counter(int(width, 0) for width in found)

    @cached_property
    def tma_bytes(self) -> Counter[int]:
        """Bytes that barriers are told to expect of TMA loads, with how often."""
        found = re.findall(r"mbarrier\.arrive\.expect_tx[^;]*?, (0x[0-9a-f]+|\d+);", self.ptx)
        return Counter(int(size, 0) for size in found)

    def __str__(self) -> str:
        """On one line, for people."""
        kinds = " ".join(f"{name}:{n}" for name, n in self.loop.kinds.most_common())
        return (
            f"{self.registers} registers, {self.spills} spills, {self.shared} B shared, "
            f"{self.total} instructions, {self.loop.total} in the loop: {kinds}"
        )


def descriptor(dtype: str, *block: int, gluon: bool = False, swizzle: int = 128) -> str:
    """The type of a TMA descriptor that the host makes: `descriptor("i8", 128, 128)`.

    With `gluon` it has a layout in shared memory, `NVMMASharedLayout` with so many bytes swizzled.
    """
    sizes = ", ".join(map(str, block))
    bits = int(re.sub(r"\D", "", dtype))
    layout = f",NVMMASharedLayout({swizzle}, {bits}, {len(block)})" if gluon else ""
    return f"tensordesc<{dtype}[{sizes}]{layout}>"


def compile(
    module: str,
    kernel: str,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    divisible_by_16: Iterable[str] = (),
    num_warps: int = 4,
    num_stages: int = 3,
    **options: Any,
) -> Code:
    """Compile a kernel; raises CompileError."""
    options |= {"num_warps": num_warps, "num_stages": num_stages}
    request = (module, kernel, dict(signature), dict(constants), tuple(divisible_by_16), options)
    return _answer(pickle.dumps(request))


@cache
def _answer(request: bytes) -> Code:
    """What the second process says."""
    worker = _worker()
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(request)
        worker.stdin.flush()
        answer = pickle.load(worker.stdout)
    except (EOFError, BrokenPipeError) as error:
        _worker.cache_clear()
        raise CompileError(f"the compiler crashed with code {worker.wait()}") from error
    if isinstance(answer, str):
        raise CompileError(answer)
    return Code(**answer)


@cache
def _worker() -> "subprocess.Popen[bytes]":
    """The process that compiles; it ends when its input does."""
    around = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    around["PYTHONPATH"] = os.pathsep.join((str(HERE), str(ROOT), *filter(None, sys.path)))
    worker = subprocess.Popen(
        [sys.executable, "-c", "import sm90; sm90.serve()"],
        cwd=ROOT,
        env=around,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    atexit.register(_end, worker)
    return worker


def _end(worker: "subprocess.Popen[bytes]") -> None:
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # a request that a crashed compiler did not read
                pipe.close()
    worker.wait()


def serve() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the compiler prints is no answer
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer: Any = compiled(*request)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        pickle.dump(answer, answers)
        answers.flush()


def compiled(
    module: str,
    kernel: str,
    signature: dict[str, str],
    constants: dict[str, Any],
    divisible: Sequence[str],
    options: dict[str, Any],
) -> dict[str, Any]:
    """The fields of `Code`. A process that interprets Triton can't do this."""
    from importlib import import_module

    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.experimental.gluon._runtime import GluonASTSource

    function = getattr(import_module(module), kernel)
    source = GluonASTSource if function.is_gluon() else ASTSource
    types = {name: signature.get(name, "constexpr") for name in function.arg_names}
    if unknown := (set(signature) | set(constants)) ^ set(function.arg_names):
        raise ValueError(f"{kernel}: neither type nor value, or no argument: {sorted(unknown)}")
    index = function.arg_names.index
    attributes = {(index(name),): [["tt.divisibility", 16]] for name in divisible}
    target = GPUTarget("cuda", 90, 32)
    program = source(function, types, constexprs=constants, attrs=attributes)
    made = triton.compile(program, target=target, options=options)
    return read(made.asm["cubin"], made.asm["ptx"]) | {"shared": made.metadata.shared}


def read(cubin: bytes, ptx: str) -> dict[str, Any]:
    """What the machine code says."""
    import tempfile

    import triton

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        tools = triton.knobs.nvidia
        usage = _output(tools.cuobjdump.path, "--dump-resource-usage", file.name)
        sass = _output(tools.nvdisasm.path, "-c", file.name)
    resources = {name: int(n) for name, n in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)}
    lines = sass.splitlines()
    return {
        "opcodes": dict(counted(lines)),
        "registers": resources["REG"],
        "local_bytes": max(resources["STACK"], resources["LOCAL"]),
        "loops": tuple(loops(lines)),
        "ptx": ptx,
        "sass": sass,
    }


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def counted(lines: Iterable[str]) -> Counter[str]:
    """Instructions in lines of SASS, by their full names."""
    found = (INSTRUCTION.search(line) for line in lines)
    return Counter(match[2] for match in found if match)


def loops(lines: Sequence[str]) -> list[Instructions]:
    """What lies between a label and a branch back to it, the most important first."""
    labels: dict[str, int] = {}
    found = []
    for here, line in enumerate(lines):
        if label := LABEL.match(line.strip()):
            labels[label[1]] = here
        branch = BRANCH.search(line)
        if branch and branch[1] in labels:
            body = Instructions(counted(lines[labels[branch[1]] : here + 1]))
            if body.total > 1:  # the last instruction of a kernel branches to itself
                found.append(body)
    weight = [(-body.count(*MMA), -body.count(*COPIES), body.total) for body in found]
    return [body for _, body in sorted(zip(weight, found, strict=True), key=lambda pair: pair[0])]
