"""How compiled code passes a tree of named tuples of arrays: by its address.

By value every call would pass hundreds of numbers (seven an array), which makes compiled code slow
and its compilation slower. `lent_tuple(value)` puts the tree on the stack once and gives a pointer;
reading a field of a pointer gives a pointer to an inner tuple, a number, or an array that has no
owner, so that nothing is reference-counted (the caller keeps the arrays alive).

The tree never changes while it is lent, and the compiler is told so (`invariant.load`): it may keep
what it has read. Only an empty piece of assembly, which it cannot look through, stands between
writing the tree and reading it.
"""

import zlib
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    models,
    register_model,
)
from numba.np.arrayobj import make_array

OWNER = ("meminfo", "parent")
"""Members of an array that count references to it."""


class Lent(types.Type):
    """The address of a named tuple of this type."""

    def __init__(self, of: Any) -> None:
        self.of = of
        digest = zlib.crc32(str(of).encode())
        super().__init__(name=f"Lent({of.instance_class.__name__}.{digest:08x})")


@register_model(Lent)
class LentModel(models.OpaqueModel):
    """A pointer."""


@infer_getattr
class LentFields(AttributeTemplate):
    """What the fields of a lent tuple are: inner named tuples are lent too."""

    key = Lent

    def generic_resolve(self, lent: Lent, field: str) -> Any:
        """The type of a field, None if there is none of this name."""
        if field not in lent.of.fields:
            return None
        kind = lent.of[lent.of.fields.index(field)]
        return Lent(kind) if isinstance(kind, types.BaseNamedTuple) else kind


def read(builder: Any, address: Any) -> Any:
    """A value from memory that does not change."""
    value = builder.load(address)
    value.set_metadata("invariant.load", builder.module.add_metadata([]))
    return value


def read_array(context: Any, builder: Any, kind: Any, address: Any) -> Any:
    """An array from memory, without its owner."""
    array = make_array(kind)(context, builder)
    members = context.data_model_manager[kind]
    for place, name in enumerate(members._fields):
        if name in OWNER:
            setattr(array, name, cgutils.get_null_value(getattr(array, name).type))
        else:
            inner = cgutils.gep_inbounds(builder, address, 0, place)
            setattr(array, name, read(builder, inner))
    return array._getvalue()


@lower_getattr_generic(Lent)
def read_field(context: Any, builder: Any, lent: Lent, value: Any, field: str) -> Any:
    """Code that reads a field through the address of its tuple."""
    place = lent.of.fields.index(field)
    kind = lent.of[place]
    tree = builder.bitcast(value, context.get_value_type(lent.of).as_pointer())
    address = cgutils.gep_inbounds(builder, tree, 0, place)
    if isinstance(kind, types.BaseNamedTuple):
        return builder.bitcast(address, cgutils.voidptr_t)
    if isinstance(kind, types.Array):
        return read_array(context, builder, kind, address)
    return read(builder, address)


def opaque(builder: Any, pointer: Any) -> Any:
    """The pointer as nothing that the compiler knows, after all memory has been written."""
    kind = ir.FunctionType(cgutils.voidptr_t, [cgutils.voidptr_t])
    return builder.asm(kind, "", "=r,0,~{memory}", [pointer], True)


def lent_tuple_code(typing_context: Any, value: Any) -> Any:
    """Type and code of `lent_tuple`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = cgutils.alloca_once_value(builder, args[0])
        return opaque(builder, builder.bitcast(place, cgutils.voidptr_t))

    return Lent(value)(value), generate


lent_tuple: Any = intrinsic(lent_tuple_code)
