"""`kaiju-sim schema`: the scenario format, for editors (JSON schema) or for readers (Markdown)."""

from pathlib import Path
from typing import Annotated

import typer

from kaiju_sim.errors import UserError


def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file, not to stdout.")
    ] = None,
    docs: Annotated[
        bool, typer.Option("--docs", help="The reference page, not the schema.")
    ] = False,
) -> None:
    """Print the JSON schema of scenario files, or the scenario reference."""
    from kaiju_sim.scenario.schema_json import json_schema_text, reference

    text = reference() if docs else json_schema_text()
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", output) from None
