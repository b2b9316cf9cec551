"""What verbs say on stderr beside their results."""

import contextlib
import sys
from collections.abc import Callable, Iterator


class Talk:
    """What is said on stderr beside the result."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def say(self, line: str) -> None:
        """A line, unless quiet."""
        if not self.quiet:
            sys.stderr.write(f"{line}\n")

    @contextlib.contextmanager
    def progress(self, what: str) -> Iterator[Callable[[float], None] | None]:
        """A bar that follows a fraction 0-1; None (nothing to call) when nobody looks."""
        if self.quiet or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        name = TextColumn("{task.description}", markup=False)
        columns = (name, BarColumn(), TextColumn("{task.percentage:3.0f} %"))
        with Progress(
            *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
        ) as bar:
            task = bar.add_task(what, total=1.0)
            yield lambda fraction: bar.update(task, completed=fraction)
