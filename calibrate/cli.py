"""`python -m calibrate`: parses, calls the library, prints. Nothing is measured here.

What will be measured goes to stdout first; the last line of stdout is one JSON object (`report`
prints its tables, unless it is asked for JSON). Talk and the progress bar go to stderr. Exit codes
as of `kaiju-sim`: 0 done, 1 our fault, 2 the user's input, 130 interrupted (what is measured stays;
the same command goes on).
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from calibrate.fidelity.verb import fidelity
from calibrate.serving.command import serve
from kaiju_sim import units
from kaiju_sim.errors import UserError

BUDGET, VARIANT_BUDGET = "8min", "75s"
ASSUMED_GPU = "H100-80GB"

_Format = Literal["text", "json", "markdown"]
_Model = Annotated[str, typer.Option(help="Model, by catalog name.")]
_Tp = Annotated[int, typer.Option(min=1, max=64, help="GPUs of a replica (tensor parallel).")]
_Gpu = Annotated[str, typer.Option(help="GPU, by catalog name; auto: what the card says it is.")]
_Out = Annotated[
    Path | None,
    typer.Option(help="Folder for samples and profile (default: their places in the checkout)."),
]
_Budget = Annotated[
    str | None,
    typer.Option(
        help=f"Time to take, compiling apart (default {BUDGET}; a variant {VARIANT_BUDGET})."
    ),
]
_Variants = Annotated[
    bool, typer.Option("--variants", help="Measure the break-it variants instead.")
]
_Variant = Annotated[
    list[str] | None, typer.Option("--variant", metavar="NAME", help="Measure this one variant.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop; needs no GPU.")]
_Only = Annotated[
    str | None,
    typer.Option(metavar="WORD,...", help="Measure only what has one of these words in its id."),
]
_Heldout = Annotated[
    int, typer.Option(min=20, max=2000, help="Held-out steps that are never dropped.")
]
_Fresh = Annotated[bool, typer.Option("--fresh", help="Remove earlier samples and begin anew.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")]
_Debug = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]


def make_app() -> typer.Typer:
    """The job, and its verbs."""
    app = typer.Typer(
        name="calibrate",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(measure)
    app.command()(refit)
    app.command()(jobs)
    app.command()(report)
    app.command()(serve)
    app.command()(fidelity)
    return app


def measure(
    context: typer.Context,
    model: _Model = "kaiju-13b",
    tp: _Tp = 1,
    gpu: _Gpu = "auto",
    out: _Out = None,
    budget: _Budget = None,
    variants: _Variants = False,
    variant: _Variant = None,
    dry_run: _DryRun = False,
    only: _Only = None,
    heldout: _Heldout = 300,
    fresh: _Fresh = False,
    quiet: _Quiet = False,
    debug: _Debug = False,
) -> None:
    """Measure a model on this machine's GPU and make the simulator's step-time profile of it."""
    if context.invoked_subcommand is not None:
        return
    from calibrate import run
    from calibrate.design.lists.variants import VARIANTS
    from calibrate.measure.talk import Talk

    chosen = list(VARIANTS) if variants else list(variant or [])
    words = tuple(word for word in (only or "").split(",") if word)
    budget_s = _seconds(budget or (VARIANT_BUDGET if chosen else BUDGET))
    asked = run.Asked(model, tp, gpu, out, budget_s, words, fresh, heldout)
    if dry_run:
        _print(run.dry_run(asked, chosen, ASSUMED_GPU, _write))
        return
    _print(run.run(asked, chosen, Talk(quiet=quiet), _write))


def refit(
    name: Annotated[str, typer.Argument(help="Profile, such as h100-80gb-kaiju-13b-tp1.")],
    out: _Out = None,
    write: Annotated[bool, typer.Option("--write", help="Write the profile, too.")] = False,
    debug: _Debug = False,
) -> None:
    """Fit the raw samples of a profile again and print its figures."""
    from calibrate.publish import (
        fitted,
        profile_file,
        result,
        sample_folder,
        write_profile,
    )
    from calibrate.samples import read_job

    folder, target = sample_folder(name, out), profile_file(name, out)
    profile = fitted(folder)
    if write:
        if read_job(folder).get("complete") is False:
            raise UserError("--write: the job is not complete (the same command goes on)", folder)
        write_profile(profile, target)
    _print(result(folder, profile, target))


def jobs(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = Path(),
    model: _Model = "kaiju-13b",
    tp: _Tp = 1,
    image: Annotated[str, typer.Option(help="Container image with this checkout.")] = (
        "kaiju-fleet-planner:latest"
    ),
    samples: Annotated[
        str, typer.Option(help="Samples: a folder of the cluster (Slurm), a claim (Kubernetes).")
    ] = "kaiju-samples",
    budget: _Budget = None,
    debug: _Debug = False,
) -> None:
    """Write job files for Slurm and Kubernetes that run this job."""
    from calibrate.jobs import Filling, write_jobs

    text = budget or BUDGET
    filling = Filling(model, tp, image, samples, text, _seconds(text))
    _print({"paths": [str(path) for path in write_jobs(filling, output)]})


def report(
    name: Annotated[str | None, typer.Argument(help="Profile (default: all but variants).")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the samples (default: in the checkout).")
    ] = None,
    form: Annotated[_Format, typer.Option("--format", help="How to print it.")] = "text",
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Rewrite the tables of a page, and draw.")
    ] = None,
    debug: _Debug = False,
) -> None:
    """Show what samples say: steps and their floors, errors, what design choices are worth."""
    from calibrate.report import collect
    from calibrate.report.show import page as pages
    from calibrate.report.show import shipped, tables

    found = collect.collect([name] if name else collect.measured_names(out), out)
    if page is not None:
        for file in (*pages.fill(page, found), *([] if out or name else shipped.write(found))):
            sys.stderr.write(f"wrote {file}\n")
    if form == "json":
        _print(found)
    else:
        sys.stdout.write(tables.text(found) if form == "text" else tables.markdown_all(found))


def _seconds(text: str) -> float:
    try:
        found = units.seconds(text)
    except ValueError as error:
        raise UserError(f"--budget: {error}") from None
    if not 1 <= found <= 86400:
        raise UserError(f"--budget: must lie between 1s and 1d, not {text}")
    return found


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _print(value: dict[str, Any]) -> None:
    from calibrate.publish import line_of

    sys.stdout.write(line_of(value))
