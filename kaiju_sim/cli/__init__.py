"""The command line: parses, calls the library, prints. Nothing is computed here.

Results go to stdout, talk goes to stderr. Exit codes: 0 done; 1 our fault; 2 the user's input;
3 a gate blocked or an objective failed, 4 undecided (both with --check); 130 interrupted.
"""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kaiju_sim.errors import UserError, one_line

if TYPE_CHECKING:
    import typer

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What writing to stdout fails with when the disk behind it is full (all other files are written
by code that makes it a UserError)."""

DONE, OUR_FAULT, USER_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments` (default: the process's own) and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    return run_app(make_app, "kaiju-sim", words)


def run_app(make: "Callable[[], typer.Typer]", name: str, words: list[str]) -> int:
    """Run the app that `make` gives on `words`, with all errors told in one line: its exit code."""
    try:
        code = _call(make, name, words)
        sys.stdout.flush()
        return code
    except UserError as error:
        return _say(f"error: {error}", USER_INPUT)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        return _reader_gone(DONE)
    except OSError as error:
        if error.errno not in _FULL:
            return _internal(error, words)
        return _say(f"error: cannot write to stdout: {error.strerror}", _reader_gone(OUR_FAULT))
    except Exception as error:
        return _internal(error, words)


def make_app() -> "typer.Typer":
    """The verbs and their options."""
    import typer

    from kaiju_sim.cli.audit import audit
    from kaiju_sim.cli.economics import economics
    from kaiju_sim.cli.gates.gate import gate
    from kaiju_sim.cli.options import options
    from kaiju_sim.cli.planning.break_it import break_it
    from kaiju_sim.cli.planning.plan import plan
    from kaiju_sim.cli.run import run
    from kaiju_sim.cli.schema import schema
    from kaiju_sim.cli.studies.diff import diff
    from kaiju_sim.cli.studies.export import export
    from kaiju_sim.cli.studies.sweep import sweep
    from kaiju_sim.cli.trace import trace

    app = typer.Typer(
        name="kaiju-sim",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options)
    app.command()(run)
    app.command()(sweep)
    app.command()(diff)
    app.command()(export)
    app.command()(economics)
    app.command()(trace)
    app.command()(audit)
    app.command()(gate)
    app.command()(break_it)
    app.command()(plan)
    app.command()(schema)
    return app


def _call(make: "Callable[[], typer.Typer]", name: str, words: list[str]) -> int:
    """Parse and run; a mistake in the usage is a UserError like any other bad input."""
    import typer

    try:
        code = make()(args=words, prog_name=name, standalone_mode=False)
    except typer.Abort:
        code = INTERRUPTED
    except SystemExit:  # all that typer exits for in this mode is a broken pipe
        raise BrokenPipeError from None
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise UserError(f"{error.format_message()} (--help shows the usage)") from error
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else DONE


def _say(line: str, code: int) -> int:
    sys.stderr.write(f"{line}\n")
    return code


def _internal(error: Exception, words: list[str]) -> int:
    """Our own fault: one line, and where it happened for those who ask."""
    if "--debug" in words:
        traceback.print_exc()
    what = one_line(f"{type(error).__name__}: {error}")
    return _say(f"internal error: {what} (--debug shows where)", OUR_FAULT)


def _reader_gone(code: int) -> int:
    """Nobody takes what is still in stdout's buffer (a reader that has read enough, a full disk):
    it must not be tried again at exit.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
