"""What all tests share."""

import ctypes
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

try:
    from hypothesis import settings
except ModuleNotFoundError:  # a machine that was lent for its GPU has pytest and little more
    pass
else:
    # The same examples on every machine and on every run; no time limit for a single example,
    # since the first one may compile.
    settings.register_profile("repeatable", deadline=None, derandomize=True)
    settings.load_profile("repeatable")


def cuda_devices() -> int:
    """How many CUDA devices this process sees; asked of the driver, as torch takes seconds."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value


DEVICES = cuda_devices()

# Without a GPU, Triton interprets. It reads this while it is imported, which any test module may
# do, so it is set before there is one.
if not DEVICES:
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The mark `gpu`."""
    if item.get_closest_marker("gpu") and not DEVICES:
        pytest.skip("no CUDA device")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public traces, beside the repository or where KAIJU_SHARED says; or a skip.

    With KAIJU_REQUIRE_SHARED=1 (as in CI) its absence is a failure.
    """
    shared = Path(os.environ.get("KAIJU_SHARED", ROOT.parent / "shared"))
    data = shared / "data" if (shared / "data").is_dir() else shared
    if not (data / "expected.json").is_file():
        missing = "no shared data: set KAIJU_SHARED"
        if os.environ.get("KAIJU_REQUIRE_SHARED") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return data
