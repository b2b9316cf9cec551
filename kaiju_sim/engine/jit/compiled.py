"""The only use of numba: plain functions become callable from compiled code, in one place.

`share(modules)` lets compiled code call the functions of these modules by name while they stay
plain Python for everyone else; `compile_entry` compiles one function that Python calls.

Numba's own cache does not see changes in other modules, so the cache folder is keyed by a hash of
the sources of every compiled module (and of numba's version and the options): never stale.

Two tricks make the loop twice as fast and are guarded: `forceinline` on every callee, and the cell
lent to the loop by its address, its arrays without owners (`engine.borrow`), so that nothing is
reference-counted inside and no call passes hundreds of values.
"""

import functools
import hashlib
import inspect
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
from numba.extending import overload, register_jitable

from kaiju_sim.engine.jit.lend import lend

OPTIONS: dict[str, Any] = {"error_model": "numpy"}
INNER: dict[str, Any] = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def cache_root() -> Path:
    """Folder of all compiled code: KAIJU_CACHE_DIR, else the user's cache folder."""
    named = os.environ.get("KAIJU_CACHE_DIR")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kaiju-sim"


def source_hash(modules: Sequence[ModuleType]) -> str:
    """Hash of what is compiled: sources, Python and numba versions, options."""
    checked = vars(numba.config).get("BOUNDSCHECK")  # NUMBA_BOUNDSCHECK=1
    digest = hashlib.sha256(f"{sys.version} {numba.__version__} {OPTIONS} {checked}".encode())
    for module in [*modules, sys.modules[__name__]]:
        digest.update(Path(str(module.__file__)).read_bytes())
    digest.update(Path(__file__).with_name("borrow.py").read_bytes())
    return digest.hexdigest()[:16]


def cache_folder(modules: Sequence[ModuleType]) -> Path:
    """Where the compiled code of these sources lives."""
    return cache_root() / source_hash(modules)


def is_warm(modules: Sequence[ModuleType]) -> bool:
    """Whether these sources have been compiled on this machine before."""
    folder = cache_folder(modules)
    return folder.is_dir() and any(folder.rglob("*.nbc"))


def drop_stale(keep: Path, most: int = 4) -> None:
    """Remove all but the newest few siblings of the cache folder."""
    try:
        others = [p for p in keep.parent.iterdir() if p.is_dir() and p != keep]
        others.sort(key=lambda p: p.stat().st_mtime, reverse=True)
        for old in others[most:]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError:
        return


def _own(function: object, module: ModuleType) -> bool:
    mine = inspect.isfunction(function) and function.__module__ == module.__name__
    return mine and function is not lend


@functools.cache
def share_lend() -> None:
    """Teach compiled code to lend tuples of arrays by address; plainly where numba has changed."""
    try:
        from kaiju_sim.engine.jit.borrow import lent_tuple
    except ImportError:
        register_jitable(lend)
        return

    @overload(lend)
    def lend_compiled(value: Any) -> Any:
        def implementation(value: Any) -> Any:
            return lent_tuple(value)

        return implementation


@functools.cache
def share(modules: tuple[ModuleType, ...], outlined: frozenset[str]) -> None:
    """Let compiled code call every function that these modules define.

    Functions are inlined into their callers but for those named in `outlined`: large ones with
    several call sites, which would only make compilation slow.
    """
    for module in modules:
        for function in vars(module).values():
            if _own(function, module):
                inline = {} if function.__name__ in outlined else {"forceinline": True}
                try:
                    register_jitable(**inline, **INNER)(function)
                except (KeyError, TypeError):  # an option that this numba does not know
                    register_jitable(**OPTIONS)(function)


def compile_entry(
    function: Callable[..., Any],
    modules: Sequence[ModuleType],
    keyed: Sequence[ModuleType],
    outlined: frozenset[str] = frozenset(),
) -> Callable[..., Any]:
    """Compile an entry point over the shared modules, cached by the hash of the `keyed` sources."""
    folder = cache_folder(keyed)
    vars(numba.config)["CACHE_DIR"] = str(folder)  # read when a function is decorated
    drop_stale(folder)
    share_lend()
    share(tuple(modules), outlined)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", numba.NumbaWarning)
        jit: Any = numba.njit  # its stubs do not know every option
        return jit(cache=True, nogil=True, no_cfunc_wrapper=True, **OPTIONS)(function)  # type: ignore[no-any-return]
