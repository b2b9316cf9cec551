"""A small reader of Thrift's compact protocol: enough for the footer of a Parquet file.

Wire format: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
Values come as Python's own: integers, bytes, lists, and dictionaries by field number for structs.
Whatever the bytes, the work is bounded by their number; anything that is not Thrift is a
`ValueError`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

Struct = dict[int, Any]

_MAX_DEPTH = 16
_STOP, _TRUE, _FALSE, _MAP_EMPTY = 0, 1, 2, 0


def parse_struct(data: bytes) -> Struct:
    """The struct at the front of *data*; `ValueError` if there is none."""
    return _Cursor(data).struct(0)


class _Cursor:
    """A place in the bytes, moving forward as values are taken."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) < size:
            raise ValueError("cut short")
        self._at += size
        return part

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise ValueError("number too long")

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def struct(self, depth: int) -> Struct:
        fields: Struct = {}
        number = 0
        while (head := self.byte()) != _STOP:
            step, kind = head >> 4, head & 0x0F
            number = number + step if step else self.zigzag()
            is_flag = kind in (_TRUE, _FALSE)
            fields[number] = kind == _TRUE if is_flag else self.value(kind, depth + 1)
        return fields

    def value(self, kind: int, depth: int) -> Any:
        if kind not in _READERS or depth > _MAX_DEPTH:
            raise ValueError("unknown type, or nested too deep")
        return _READERS[kind](self, depth)

    def sequence(self, depth: int) -> list[Any]:
        head = self.byte()
        kind = head & 0x0F
        size = head >> 4 if head >> 4 != 15 else self.varint()
        # Every item takes a byte or more, so a stated size cannot outgrow the data.
        return [self.value(kind, depth + 1) for _ in range(size)]

    def mapping(self, depth: int) -> list[tuple[Any, Any]]:
        size = self.varint()
        if size == _MAP_EMPTY:
            return []
        kinds = self.byte()
        pair = (kinds >> 4, kinds & 0x0F)
        return [
            (self.value(pair[0], depth + 1), self.value(pair[1], depth + 1)) for _ in range(size)
        ]


_READERS: Mapping[int, Callable[[_Cursor, int], Any]] = MappingProxyType(
    {
        _TRUE: lambda cursor, _: cursor.byte() == _TRUE,
        _FALSE: lambda cursor, _: cursor.byte() == _TRUE,
        3: lambda cursor, _: cursor.byte(),
        4: lambda cursor, _: cursor.zigzag(),
        5: lambda cursor, _: cursor.zigzag(),
        6: lambda cursor, _: cursor.zigzag(),
        7: lambda cursor, _: cursor.take(8),
        8: lambda cursor, _: cursor.take(cursor.varint()),
        9: lambda cursor, depth: cursor.sequence(depth),
        10: lambda cursor, depth: cursor.sequence(depth),
        11: lambda cursor, depth: cursor.mapping(depth),
        12: lambda cursor, depth: cursor.struct(depth),
    }
)
"""Type number on the wire -> how to take a value of it."""
