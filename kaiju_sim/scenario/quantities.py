"""Types of scenario fields that carry a unit: how each is read, checked, written and documented.

In a scenario file (validation with `FROM_FILE` as context) such a field is a string with a unit and
a bare number is an error. In Python a plain SI number is taken as well. `model_dump(mode="json")`
writes the string, with the unit, that reads back to the same number.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from kaiju_sim import units

FROM_FILE: Final = {"from_file": True}
"""Validation context of values that come from a file or the command line: units are required."""

MAX_SECONDS: Final = 1e9
"""Longest time: int64 nanoseconds hold nine times as much."""

MAX_BYTES: Final = 2**62
"""Largest size."""


@dataclass(frozen=True, eq=False)
class Quantity:
    """A kind of quantity: its units, and how to read and write it."""

    name: str
    units: Mapping[str, Decimal]
    example: str
    parse: Callable[[str], float]
    show: Callable[[Any], str]

    @property
    def pattern(self) -> str:
        """Regular expression (ECMA and Python) of the strings that are allowed."""
        names = "|".join(re.escape(unit).replace("/", r"\/") for unit in self.units)
        return rf"^\s*{units.NUMBER_PATTERN}\s*(?:{names})\s*$"

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_before_validator_function(
            self._read,
            handler(source),
            serialization=core_schema.plain_serializer_function_ser_schema(
                self._write, when_used="json"
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "pattern": self.pattern, "examples": [self.example]}

    def _read(self, value: Any, info: core_schema.ValidationInfo) -> Any:
        if isinstance(value, str):
            return self.parse(value)
        if info.context and isinstance(value, int | float) and not isinstance(value, bool):
            return self.parse(str(value))  # a number without a unit: the parser says so
        return value

    def _write(self, value: Any) -> Any:
        return value if isinstance(value, str) else self.show(value)


TIME: Final = Quantity("time", units.TIME_UNITS, "500ms", units.seconds, units.format_seconds)
SIZE: Final = Quantity("size", units.BYTE_UNITS, "80GiB", units.byte_count, units.format_bytes)
BANDWIDTH: Final = Quantity(
    "bandwidth",
    units.BANDWIDTH_UNITS,
    "50GB/s",
    units.bytes_per_second,
    units.format_bandwidth,
)
PRICE: Final = Quantity(
    "price", units.PRICE_UNITS, "2.35 USD/h", units.usd_per_hour, units.format_usd_per_hour
)
SUBSCRIPTION: Final = Quantity(
    "subscription",
    units.SUBSCRIPTION_UNITS,
    "10 USD/month",
    units.usd_per_month,
    units.format_usd_per_month,
)


def as_tuple(value: Any) -> Any:
    """A YAML list as a tuple, for frozen parts."""
    return tuple(value) if isinstance(value, list) else value


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):  # Literal[1] would take true, which equals 1
        raise ValueError("true and false are not numbers")
    return value


NotBool: Final = BeforeValidator(_not_bool)
"""For literal numbers."""

Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS), TIME]
"""A time, zero allowed; plain seconds in Python."""

PositiveSeconds = Annotated[float, Field(ge=1e-9, le=MAX_SECONDS), TIME]
"""A time of at least one nanosecond, the resolution of simulated time."""

Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES), SIZE]
"""A size; plain bytes in Python."""

BytesPerSecond = Annotated[float, Field(ge=1e3, le=1e18), BANDWIDTH]
"""A bandwidth; plain bytes per second in Python."""

UsdPerHour = Annotated[float, Field(ge=0, le=1e9), PRICE]
"""A price by the hour; plain USD per hour in Python."""

UsdPerMonth = Annotated[float, Field(ge=0, le=1e9), SUBSCRIPTION]
"""A price by the month; plain USD per month in Python."""

Fraction = Annotated[float, Field(ge=0, le=1)]
"""A share between 0 and 1, never percent."""

PositiveFraction = Annotated[float, Field(gt=0, le=1)]
"""A share above 0, for what is divided by."""

Tokens = Annotated[int, Field(ge=0)]
"""A count of tokens."""

Numbers = Annotated[tuple[float, ...], BeforeValidator(as_tuple)]
"""A list of plain numbers."""

Times = Annotated[tuple[Seconds, ...], BeforeValidator(as_tuple)]
"""A list of times."""
