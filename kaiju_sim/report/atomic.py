"""A directory that appears whole or not at all.

Files go into a hidden sibling of the target, are flushed to disk, and one rename gives them their
name. Whatever stops the process before leaves only the hidden name, which says which machine and
process it belonged to; the next run that writes beside it clears what dead processes left.

A target that exists is first renamed to a second hidden name, since a full directory cannot be
replaced in one step. A process killed between the two renames leaves no target, and the next run
puts the old one back.
"""

import contextlib
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from kaiju_sim.errors import UserError

_HIDDEN = re.compile(r"\..+\.kaiju-(?P<what>new|old)-(?P<host>[0-9a-f]{8})-(?P<pid>\d{1,9})")


@contextlib.contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """Yield an empty directory that becomes `target` when the block ends without an exception.

    An old `target` directory is replaced. Errors of the file system are UserError.
    """
    new = _hidden(target, "new")
    try:
        new.mkdir()
        yield new
        _flush(new)
        _swap_in(new, target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def write_file(target: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all; an old one is replaced.

    Errors of the file system are UserError.
    """
    new = _hidden(target, "new")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(target)
        _flush_directory(target.parent)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror or error}", target) from error
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)


def probe(parent: Path) -> None:
    """Raise UserError unless a directory can be made in `parent` now."""
    trial = parent / f".kaiju-probe-{_host()}-{os.getpid()}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        raise UserError(f"cannot write in {parent}: {error.strerror or error}") from error


def clear_stale(target: Path) -> None:
    """Remove what dead processes of this machine left of `target`; restore it if they took it."""
    for found in target.parent.glob(f".{_escape(_short(target))}.kaiju-*"):
        match = _HIDDEN.fullmatch(found.name)
        if match is None or match["host"] != _host() or _alive(int(match["pid"])):
            continue
        if match["what"] == "old" and not target.exists():
            found.rename(target)
        else:
            shutil.rmtree(found, ignore_errors=True)


def _swap_in(new: Path, target: Path) -> None:
    """Give `new` the name `target`, whatever directory had it before."""
    old = _hidden(target, "old")
    with contextlib.suppress(FileNotFoundError):
        target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        with contextlib.suppress(OSError):
            old.rename(target)
        raise
    _flush_directory(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _hidden(target: Path, what: str) -> Path:
    return target.parent / f".{_short(target)}.kaiju-{what}-{_host()}-{os.getpid()}"


def _short(target: Path) -> str:
    """The target's name, cut so that the hidden name stays a legal one."""
    name = target.name
    if len(name.encode()) <= 180:
        return name
    return f"{name[:40]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"


def _escape(name: str) -> str:
    """`name` as a literal in a glob pattern."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def _host() -> str:
    """Eight digits that tell machines apart which share a disk."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _alive(pid: int) -> bool:
    """Whether another process has this number (ours has: then an earlier one had it too)."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _flush(directory: Path) -> None:
    """Force every file of `directory`, and the directory, to disk."""
    for path in sorted(directory.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _flush_directory(directory)


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
