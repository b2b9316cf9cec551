"""A text in an address: packed, and unpacked within bounds."""

import base64
import binascii
import zlib

MOST_LINK = 6000
"""Characters in an address; servers and chats cut longer ones."""


def packed(text: str) -> str | None:
    """The text for an address; None where it is too long for one."""
    link = base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")
    return link if len(link) <= MOST_LINK else None


def unpacked(link: str, most: int) -> str | None:
    """The text of an address, of at most so many bytes; None where it is none."""
    if len(link) > MOST_LINK:
        return None
    try:
        content = base64.urlsafe_b64decode(link + "=" * (-len(link) % 4))
        opened = zlib.decompressobj()
        text = opened.decompress(content, most)
        return text.decode() if opened.eof else None
    except (binascii.Error, zlib.error, ValueError):
        return None


def short(text: str) -> str:
    """A few characters that differ where texts differ."""
    return f"{zlib.crc32(text.encode()):08x}"
