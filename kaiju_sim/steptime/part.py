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
    """What the serving engine takes on the host between two steps, while the GPU waits: before a
    step, from the moment at which policy looks who is there, and after its tokens."""

    step_s: float = Field(ge=0)
    """Before every step."""
    seq_s: float = Field(ge=0)
    """Of each sequence that decodes, and of each prompt under way, before it."""
    prefill_s: float = Field(ge=0)
    """Of a step with prompts, besides, before it."""
    prompt_s: float = Field(ge=0)
    """Of each prompt under way, besides, before it."""
    after_s: float = Field(ge=0)
    """After every step's tokens, until the next one may start."""
    after_seq_s: float = Field(ge=0)
    """Of each sequence that decodes, after it."""
    after_prompt_s: float = Field(ge=0)
    """Of each prompt under way, after it."""
    n: int = Field(ge=1)
    """Steps of the engine that it was fitted to."""
    median_abs_rel_error: float = Field(ge=0)
    """Median of |fitted / measured - 1| of these times."""
    p95_abs_rel_error: float = Field(ge=0)
    """95th percentile of the same."""
