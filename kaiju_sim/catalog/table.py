"""Reading the catalog's YAML tables, and one-line errors for names that are not in them."""

from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML

from kaiju_sim.errors import UserError


class Entry(BaseModel):
    """A frozen row of a catalog table; unknown keys are errors, values are never coerced."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


@cache
def read_table(name: str) -> dict[str, dict[str, Any]]:
    """The rows of `catalog/<name>.yaml` by entry name. Read once; treat as read-only."""
    text = files("kaiju_sim.catalog").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    table: dict[str, dict[str, Any]] = YAML(typ="safe", pure=True).load(text)
    return table


def unknown_name(kind: str, name: str, allowed: list[str]) -> NoReturn:
    """Raise the UserError for a name that no entry has: the nearest one, and all allowed ones."""
    starts = [entry for entry in allowed if name and entry.lower().startswith(name.lower())]
    near = starts or get_close_matches(name, allowed, n=1, cutoff=0.4)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise UserError(f"{kind}: unknown name {name[:60]!r}{hint}; allowed: {', '.join(allowed)}")
