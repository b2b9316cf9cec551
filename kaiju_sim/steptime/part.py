"""How the parts of a profile are read, and the part that tells what the serving engine takes."""

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A part of a profile: nothing unknown, nothing converted, no NaN."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )


class EngineHost(Part):
    """What the serving engine takes on the host between two steps, while the GPU waits."""

    step_s: float = Field(ge=0)
    """Of every step."""
    seq_s: float = Field(ge=0)
    """Of each sequence that decodes, and of each prompt under way."""
    prefill_s: float = Field(ge=0)
    """Of a step with prompts, besides."""
    n: int = Field(ge=1)
    """Steps of the engine that it was fitted to."""
    median_abs_rel_error: float = Field(ge=0)
    """Median of |fitted / measured - 1| of these times."""
    p95_abs_rel_error: float = Field(ge=0)
    """95th percentile of the same."""
