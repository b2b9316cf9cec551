"""From a path to lines of text: opens, decompresses and splits a file without ever holding it.

The file's own claims are not believed: compression is checked to its last byte, decompressed
lines and totals are limited, and only regular files are opened (a pipe could block for ever).
"""

import hashlib
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import PurePath
from typing import BinaryIO

import zstandard

from kaiju_sim.errors import UserError, one_line
from kaiju_sim.workload.traces.model import Limits, RowError

COMPRESSIONS = {".zst": "zstd", ".gz": "gzip"}
"""File ending -> name of the compression."""

_MAGIC = {"zstd": b"\x28\xb5\x2f\xfd", "gzip": b"\x1f\x8b"}
_CHUNK = 1 << 16
_GZIP_FRAMING = 31
# A zstd block of 4 bytes can stand for 128 KiB, so what is fed at once bounds what comes out:
# 1 KiB gives at most 32 MiB.
_ZSTD_FEED = 1 << 10
_ZSTD_WINDOW = 1 << 27


@dataclass(slots=True)
class Source:
    """An open trace file, and the row being read (the line in text, from 1)."""

    path: str
    file: BufferedReader
    compression: str | None
    limits: Limits
    row: int | None = None


def split_name(path: str) -> tuple[str, str, str | None]:
    """File name without endings, its format ending (".csv"), and its compression."""
    name = PurePath(path)
    compression = COMPRESSIONS.get(name.suffix.lower())
    if compression is not None:
        name = name.with_suffix("")
    return one_line(name.stem), name.suffix.lower(), compression


@contextmanager
def open_source(path: str, limits: Limits) -> Iterator[Source]:
    """Open a regular file for reading; `UserError` when there is none or it is too big."""
    with ExitStack() as stack:
        try:
            _check_file(path, limits)
            file = stack.enter_context(open(path, "rb"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise UserError(f"cannot open the trace: {reason}", file=path) from None
        yield Source(path, file, split_name(path)[2], limits)


def _check_file(path: str, limits: Limits) -> None:
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):
        kind = "a directory" if stat.S_ISDIR(info.st_mode) else "not a regular file"
        raise UserError(f"this is {kind}: give a trace file", file=path)
    if info.st_size == 0:
        raise UserError("the file is empty", file=path)
    if info.st_size > limits.total_bytes:
        raise UserError(f"the file is over {limits.total_bytes:,} bytes", file=path)


def digest(source: Source) -> str:
    """SHA-256 of the file as it lies on disk."""
    source.file.seek(0)
    value = hashlib.file_digest(source.file, "sha256").hexdigest()
    source.file.seek(0)
    return value


def chunks(source: Source) -> Iterator[bytes]:
    """The decompressed bytes, piece by piece, within the size limit."""
    total = 0
    for chunk in _decompressed(source):
        total += len(chunk)
        if total > source.limits.total_bytes:
            raise RowError(f"the data is over {source.limits.total_bytes:,} bytes")
        yield chunk


def _decompressed(source: Source) -> Iterator[bytes]:
    try:
        match source.compression:
            case "zstd":
                yield from _zstd(source.file)
            case "gzip":
                yield from _gzip(source.file)
            case _:
                yield from _plain(source.file)
    except EOFError:
        raise RowError(f"the {source.compression} data is cut short") from None
    except (zstandard.ZstdError, zlib.error):
        raise RowError(_what_is_broken(source)) from None
    except OSError as error:
        raise RowError(f"cannot read on: {error.strerror}") from None


def _what_is_broken(source: Source) -> str:
    assert source.compression is not None
    source.file.seek(0)
    magic = _MAGIC[source.compression]
    if source.file.read(len(magic)) == magic:
        return f"the {source.compression} data is broken here"
    return f"the file does not hold {source.compression} data, as its name says"


def _plain(file: BinaryIO) -> Iterator[bytes]:
    head = file.read(_CHUNK)
    for ending, name in COMPRESSIONS.items():
        if head.startswith(_MAGIC[name]):
            raise RowError(f"the file holds {name} data but its name does not end in {ending}")
    while head:
        yield head
        head = file.read(_CHUNK)


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    """Member after member, at most a chunk of output at a time."""
    member = None
    while data := file.read(_CHUNK):
        while data:
            member = member or zlib.decompressobj(wbits=_GZIP_FRAMING)
            if chunk := member.decompress(data, _CHUNK):
                yield chunk
            data = member.unused_data if member.eof else member.unconsumed_tail
            member = None if member.eof else member
    if member is not None:
        raise EOFError


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    """Frame after frame; unlike the library's reader, an unfinished last frame is an error."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame = None
    while data := file.read(_ZSTD_FEED):
        while data:
            frame = frame or decompressor.decompressobj()
            if chunk := frame.decompress(data):
                yield chunk
            data = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError


def lines(source: Source) -> Iterator[str]:
    """Lines of text without their ends; keeps `source.row` at the line being read."""
    blank_row = None
    source.row = 1
    for raw in _raw_lines(source):
        if blank_row is not None:
            source.row = blank_row
            raise RowError("the line is empty")
        text = _decoded(raw, first=source.row == 1)
        if text.strip():
            yield text
        else:
            blank_row = source.row  # tolerated at the very end of the file only
        source.row += 1


def _raw_lines(source: Source) -> Iterator[bytes]:
    parts: list[bytes] = []
    size = 0
    for chunk in chunks(source):
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            _check_length(size + end - start, source.limits)
            parts.append(chunk[start:end])
            yield b"".join(parts)
            parts, size, start = [], 0, end + 1
        parts.append(chunk[start:])
        size += len(chunk) - start
        _check_length(size, source.limits)
    if size:
        yield b"".join(parts)


def _check_length(size: int, limits: Limits) -> None:
    if size > limits.line_bytes:
        raise RowError(f"the line is over {limits.line_bytes:,} bytes")


def _decoded(raw: bytes, *, first: bool) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise RowError("the line is not UTF-8 text") from None
    return (text.removeprefix("\ufeff") if first else text).removesuffix("\r")


@contextmanager
def seekable(source: Source) -> Iterator[BinaryIO]:
    """The decompressed file as one that can seek: itself, or a temporary copy on disk."""
    if source.compression is None:
        yield source.file
        return
    with tempfile.TemporaryFile() as copy:
        for chunk in chunks(source):
            copy.write(chunk)
        copy.seek(0)
        yield copy
