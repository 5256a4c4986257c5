"""Vectors of numbers in Numba: what a compiler does not find by itself, said outright.

LLVM does not vectorise the loops of a depthwise convolution (1 to 8 GFLOP/s on one core); written
with explicit vectors the same loops come near the machine's peak (docs/performance.md).  A `Tile`
is a value whose *type* holds the constants of a kernel: how many channels a vector has, and how
many taps a side.  A function that takes one is compiled once per tile, its loops over taps
unrolled, and lies in Numba's cache on disk; no C++ compiler is needed.

Vectors are written with `+`, `-` and `*`; a product that is added is one fused multiply-add.
Offsets are not checked: they are computed by the kernels beside this module, and by nobody else.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import cast

from llvmlite import binding, ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model, typeof_impl
from torch import Tensor

# Bytes of a vector: a longer one runs no faster, and its kernels are compiled once more.
REGISTER = 64 if binding.get_host_cpu_features().get("avx512f") else 32


def emitted(build: Callable[..., object]) -> Callable[..., float]:
    """A function that `build` writes in LLVM's language; to a type checker a vector is a number."""
    return cast("Callable[..., float]", intrinsic(build))


class TileType(types.Type):
    """The Numba type of a `Tile`."""

    def __init__(self, lanes: int, size: int) -> None:
        self.lanes, self.size = lanes, size
        super().__init__(name=f"Tile({lanes}, {size})")


@dataclass(frozen=True)
class Tile:
    """Constants of a kernel: `lanes` channels at a time, `size` taps a side."""

    lanes: int
    size: int = 1

    @cached_property
    def _numba_type_(self) -> TileType:
        return TileType(self.lanes, self.size)


@cache
def tile_of(lanes: int, size: int = 1) -> Tile:
    """The tile of those constants; the same one every time, which calls faster."""
    return Tile(lanes, size)


def tile_for(like: Tensor, *channels: int) -> Tile:
    """The longest vectors of the format of `like` that every one of `channels` is made of."""
    most = REGISTER // like.element_size()
    return tile_of(
        next(n for n in (16, 8, 4, 2, 1) if n <= most and not any(c % n for c in channels))
    )


class VectorType(types.Type):
    """`lanes` numbers of `dtype`."""

    def __init__(self, dtype: types.Type, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")


@register_model(TileType)
class _TileModel(models.OpaqueModel):
    pass


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type) -> None:
        element = manager.lookup(fe_type.dtype).get_value_type()
        super().__init__(manager, fe_type, ir.VectorType(element, fe_type.lanes))


@typeof_impl.register(Tile)
def _typeof_tile(value: Tile, context: object) -> TileType:
    return value._numba_type_


def _unbox_tile(typ, obj, c):
    from numba.extending import NativeValue

    return NativeValue(c.context.get_dummy_value())


def _register_unboxing() -> None:
    from numba.extending import unbox

    unbox(TileType)(_unbox_tile)


_register_unboxing()


def _constant(name: str) -> Callable[[object], int]:
    """A function of a tile that is a constant to the compiler."""

    @intrinsic
    def constant(typingctx, tile):
        value = getattr(tile, name)
        return types.intp(tile), lambda context, builder, sig, args: context.get_constant(
            types.intp, value
        )

    return cast("Callable[[object], int]", constant)


lanes = _constant("lanes")
size = _constant("size")


@emitted
def vectors(typingctx, tile):
    """The tile without its taps: who needs only the lanes is compiled once for all sizes."""
    wide = TileType(tile.lanes, 1)
    return wide(tile), lambda context, builder, sig, args: context.get_dummy_value()


@emitted
def plain(typingctx, constant):
    """A constant that is no part of a type: who gets it is compiled once for all its values."""
    return constant(constant), lambda context, builder, sig, args: args[0]


def _address(context, builder, array_type, array, offset, count):
    data = context.make_array(array_type)(context, builder, array).data
    vector = ir.VectorType(context.get_value_type(array_type.dtype), count)
    return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())


def _fill(builder, scalar, count):
    """A vector whose lanes all are `scalar`."""
    vector, i32 = ir.VectorType(scalar.type, count), ir.IntType(32)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(i32, 0))
    zeros = ir.Constant(ir.VectorType(i32, count), [0] * count)
    return builder.shuffle_vector(first, undefined, zeros)


@emitted
def load(typingctx, array, offset, tile):
    """The vector at `array[offset:]`."""

    def build(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], args[1], tile.lanes)
        value = builder.load(address)
        value.align = sig.args[0].dtype.bitwidth // 8
        return value

    return VectorType(array.dtype, tile.lanes)(array, types.intp, tile), build


@emitted
def store(typingctx, array, offset, vector):
    """Write a vector to `array[offset:]`."""

    def build(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], args[1], vector.lanes)
        builder.store(args[2], address).align = sig.args[0].dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), build


@emitted
def broadcast(typingctx, array, offset, tile):
    """A vector whose lanes all are `array[offset]`."""

    def build(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return _fill(builder, builder.load(builder.gep(data, [args[1]])), tile.lanes)

    return VectorType(array.dtype, tile.lanes)(array, types.intp, tile), build


@emitted
def zero(typingctx, array, tile):
    """Zeros of an array's number format."""
    vector = VectorType(array.dtype, tile.lanes)

    def build(context, builder, sig, args):
        return ir.Constant(context.get_value_type(vector), [0.0] * tile.lanes)

    return vector(array, tile), build


@emitted
def spread(typingctx, array, number, tile):
    """A vector whose lanes all are `number`, in an array's number format."""

    def build(context, builder, sig, args):
        return _fill(builder, args[1], tile.lanes)

    return VectorType(array.dtype, tile.lanes)(array, array.dtype, tile), build


@emitted
def widened(typingctx, array, vector):
    """A vector in the (wider) number format of `array`."""
    wide = VectorType(array.dtype, vector.lanes)

    def build(context, builder, sig, args):
        target = context.get_value_type(wide)
        return args[1] if args[1].type == target else builder.fpext(args[1], target)

    return wide(array, vector), build


@emitted
def add_to(typingctx, array, offset, vector):
    """Add a vector to `array[offset:]`, in the array's own (wider) number format."""

    def build(context, builder, sig, args):
        wide = ir.VectorType(context.get_value_type(sig.args[0].dtype), vector.lanes)
        address = _address(context, builder, sig.args[0], args[0], args[1], vector.lanes)
        align = sig.args[0].dtype.bitwidth // 8
        value = args[2] if args[2].type == wide else builder.fpext(args[2], wide)
        old = builder.load(address)
        old.align = align
        builder.store(builder.fadd(old, value), address).align = align
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), build


@emitted
def where_positive(typingctx, condition, value):
    """`value` where `condition` is above 0 or no number, else 0, lane by lane."""

    def build(context, builder, sig, args):
        none = ir.Constant(args[1].type, [0.0] * value.lanes)
        positive = builder.fcmp_unordered(">", args[0], ir.Constant(args[0].type, none.constant))
        return builder.select(positive, args[1], none)

    return value(condition, value), build


@emitted
def larger(typingctx, a, b):
    """The larger of two vectors, lane by lane; a NaN in either wins."""

    def build(context, builder, sig, args):
        above = builder.fcmp_ordered(">", args[1], args[0])
        no_number = builder.fcmp_unordered("uno", args[1], args[1])
        return builder.select(builder.or_(above, no_number), args[1], args[0])

    return a(a, b), build


@emitted
def where_reached(typingctx, x, bound, value):
    """`value` where `x` is at least `bound` or neither is a number, else 0, lane by lane."""

    def build(context, builder, sig, args):
        none = ir.Constant(args[2].type, [0.0] * value.lanes)
        no_numbers = [builder.fcmp_unordered("uno", each, each) for each in args[:2]]
        reached = builder.or_(
            builder.fcmp_ordered(">=", args[0], args[1]), builder.and_(*no_numbers)
        )
        return builder.select(reached, args[2], none)

    return value(x, bound, value), build


def _arithmetic(op, name: str) -> None:
    """Let vectors of one type be combined with `op`, LLVM's `name`."""

    @cast("Callable[[type], type]", infer_global(op))
    class _Typing(AbstractTemplate):  # cheaper to compile than an overload, and there are many
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], VectorType) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    @lower_builtin(op, VectorType, VectorType)
    def build(context, builder, sig, args):
        return getattr(builder, name)(*args, flags=["contract"])


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
