"""The one exception that means "the user's input is wrong" (exit code 2 at the command line)."""

import os
from typing import Final

MAX_MESSAGE: Final = 500
"""Longest message, in characters; what is over is cut."""


class UserError(Exception):
    """Bad input: one line that says where, what, and what would be right.

    *file* and *line* are where the mistake is, as far as they are known. `str()` is always a
    single printable line, `file:line: message` with the parts there are.
    """

    def __init__(
        self, message: str, file: str | os.PathLike[str] | None = None, line: int | None = None
    ) -> None:
        self.message = _cut(one_line(message))
        self.file = None if file is None else one_line(os.fspath(file))
        self.line = line
        super().__init__(self.message, self.file, self.line)

    def __str__(self) -> str:
        if self.file is None:
            return self.message
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}"


def one_line(text: str) -> str:
    """*text* on one line: runs of white space become a space, what cannot be printed is escaped."""
    words = " ".join(text.split())
    if words.isprintable():
        return words
    return "".join(c if c.isprintable() else _escaped(c) for c in words)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "..."
