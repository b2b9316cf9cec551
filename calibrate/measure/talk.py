"""What the job says while it runs: lines on stderr, and a bar with the time left."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

TENTHS = 10


class Talk:
    """Says things; the bar is for terminals, a line each tenth for logs."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said = -1

    def say(self, line: str) -> None:
        """One line."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            self._stream.write(f"{line}\n")
            self._stream.flush()

    @contextlib.contextmanager
    def bar(self) -> Iterator[None]:
        """A progress bar while the block runs, where somebody looks."""
        if self._quiet or not self._stream.isatty():
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %  {task.fields[left]} left"),
        )
        with Progress(*columns, console=Console(file=self._stream), transient=True) as bar:
            self._bar, self._task = bar, bar.add_task("starting", total=1.0, left="-")
            try:
                yield
            finally:
                self._bar = self._task = None

    def progress(self, what: str, fraction: float, left_s: float) -> None:
        """How far it is: `fraction` 0-1 of the job, and seconds that are left of it."""
        left = f"{int(max(left_s, 0)) // 60}:{int(max(left_s, 0)) % 60:02}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=fraction, description=what, left=left)
        elif int(fraction * TENTHS) > self._said:
            self._said = int(fraction * TENTHS)
            self.say(f"{fraction:4.0%}  {what}, {left} left")
