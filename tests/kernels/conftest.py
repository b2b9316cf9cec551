"""Kernels are tested in three tiers.

- here: against their references, on the GPU if there is one, else through Triton's interpreter
  (tests/conftest.py sets TRITON_INTERPRET=1 before Triton is imported);
- compiled/: the machine code for sm_90a, which takes no GPU;
- gpu/: large shapes, races, repeated runs (mark `gpu`).
"""

from importlib.util import find_spec

import pytest

MISSING = [name for name in ("torch", "triton") if find_spec(name) is None]
collect_ignore_glob = ["*.py", "*/*.py"] if MISSING else []
"""Triton is made for Linux; elsewhere these tests are left out."""

if not MISSING:
    import torch
    import triton

    if not torch.cuda.is_available() and not triton.knobs.runtime.interpret:
        raise pytest.UsageError("Triton was imported before TRITON_INTERPRET=1 was set: by whom?")


@pytest.fixture(scope="session")
def device() -> "torch.device":
    """Where kernels run: a GPU, or the CPU, where they are interpreted."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def generator(device: "torch.device") -> "torch.Generator":
    """A seeded source of random numbers on the device."""
    return torch.Generator(device).manual_seed(1)
