"""A GPU that is not there: what a real one refuses, or waits for, is found without one.

Its tensors say that they are on it, and lie in the CPU's memory.  An operation that is given
tensors of both, or the other's generator, is an error, as there; a value that the host asks for,
and a copy that it stands by, is a wait.  What is not seen: streams, captures, compiled kernels,
and what C++ decides by a tensor's device, since it takes these for the CPU's: to set one number by
its index is no wait on a real one; in a backward pass zeros of either are both's, and no copy is
counted.  What leaves it beside the host's work counts as no wait either, however soon it is read.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

CPU, GPU = torch.device("cpu"), torch.device("cuda:63")  # no real one's: caches are by device
aten = torch.ops.aten
READS = frozenset(
    {
        aten._linalg_check_errors.default, aten._linalg_eigh.default, aten.allclose.default,
        aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default,
        aten.unique_consecutive.default, aten.unique_dim.default, aten.multinomial.default,
        aten.masked_select.default, aten._unique2.default, aten.bincount.default,
        aten.repeat_interleave.Tensor,
    }
)  # fmt: skip
INDEXED = frozenset(
    {
        aten.index.Tensor, aten.index_put.default, aten.index_put_.default,
        aten._index_put_impl_.default,
    }
)  # fmt: skip


# Beside what is done number by number, these take one number of the host.
NUMBERED = frozenset({aten.index_put.default, aten.index_put_.default, aten.fill_.Tensor})


class TwoDevicesError(RuntimeError):
    """An operation that was given something of either device."""


class WaitedError(RuntimeError):
    """The host waited where it must not."""


class Waits(list[str]):
    """What the host waited for, and where; an error at once where `strict`."""

    strict = False

    def note(self, what: str) -> None:
        """One more."""
        own = [f for f in traceback.extract_stack() if "/workbench/" in f.filename]
        told = f"{what}, {' < '.join(f'{f.filename}:{f.lineno}' for f in own[:-4:-1])}"
        self.append(told)
        if self.strict:
            raise WaitedError(told)


WAITS = Waits()
GENERATORS: set[int] = set()  # those on it, by address: C++ hands on another object for one


class OnGpu(Tensor):
    """A tensor on it; `inner` holds its numbers."""

    inner: Any  # a tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore
    device = GPU  # pyright: ignore
    is_cuda = True  # pyright: ignore
    is_cpu = False  # pyright: ignore

    def __new__(cls, inner: Tensor, requires_grad: bool = False) -> OnGpu:
        """`inner`, as a tensor that C++ takes for the CPU's."""
        return Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, layout=inner.layout, device=CPU, requires_grad=requires_grad,
        )  # fmt: skip

    def __init__(self, inner: Tensor, requires_grad: bool = False) -> None:
        self.inner = inner

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """For `nn.Module.to`, which exchanges what has it."""
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: Mapping[str, Tensor], *_: object) -> OnGpu:
        return OnGpu(inner["inner"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, object]) -> object:
        if id(self) not in memo:
            copy = OnGpu(self.inner.clone(), self.requires_grad)
            parameter = isinstance(self, nn.Parameter)
            memo[id(self)] = nn.Parameter(copy, self.requires_grad) if parameter else copy
        return memo[id(self)]

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """As torch's, which would compare devices in C++."""
        device, dtype, beside, layout, copy = _asked(args, kwargs)
        if device is not None and device.type != "cuda":
            return _moved(self, device, dtype, beside)
        how = {} if layout is None else {"memory_format": layout}
        return Tensor.to(self, dtype or self.dtype, copy=copy, **how)

    def cpu(self, memory_format: object = None) -> Tensor:
        """Its numbers there."""
        return _moved(self, CPU)

    def cuda(self, *_: object, **__: object) -> Tensor:
        """Itself."""
        return self

    def new_tensor(self, data: Any, *_: Any, **__: Any) -> Tensor:  # pyright: ignore
        """As torch's: on the same device."""
        return _moved(torch.tensor(data, dtype=self.dtype), GPU)

    def record_stream(self, s: object) -> None:
        """There is but one."""

    def tolist(self) -> Any:
        """Its numbers, which the host waits for."""
        WAITS.note("tolist")
        return self.inner.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Its numbers, where a copy is asked for."""
        if not force:
            raise TypeError("can't convert cuda device type tensor to numpy")
        WAITS.note("a copy from it")
        return self.inner.detach().numpy()

    def __array__(self, *_: object, **__: object) -> Any:
        """As `numpy`."""
        return self.numpy()

    @property
    def data(self) -> Tensor:
        """As torch's; what is put there is on the same device."""
        return Tensor.data.__get__(self)  # pyright: ignore

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, OnGpu):
            raise TwoDevicesError("`data` of the other device")
        Tensor.data.__set__(self, value)  # pyright: ignore
        self.inner = value.inner


def _asked(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Device, dtype, whether the host goes on, memory format, copy: of arguments of `to`."""
    if args and isinstance(args[0], Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    rest = {name: value for name, value in kwargs.items() if name != "copy"}
    parsed = torch._C._nn._parse_to(*args, **rest)  # pyright: ignore
    return (*parsed, kwargs.get("copy", False))


def _moved(
    x: Tensor, device: torch.device, dtype: torch.dtype | None = None, beside: bool = False
) -> Tensor:
    return aten._to_copy.default(x, device=device, dtype=dtype or x.dtype, non_blocking=beside)


def is_gpu(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _run(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """`func` of tensors of which some are on the GPU, or that makes some there."""
    asked = kwargs.get("device")
    if torch._C._current_graph_task_id() != -1:  # C++ makes zeros, and casts, where it sees us
        if func not in NUMBERED:
            args, kwargs = (tree_map(_zeros_there, x) for x in (args, dict(kwargs)))
        asked = None if any(isinstance(x, OnGpu) for x in tree_leaves(args)) else asked
    leaves = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    ours = [x for x in leaves if isinstance(x, OnGpu)]
    there = bool(ours) if asked is None else is_gpu(asked)
    _refuse(func, args, kwargs, leaves, there)
    _wait(func, args, kwargs, bool(ours), there)
    plain = {**tree_map(_inner, dict(kwargs)), **({"device": CPU} if there and asked else {})}
    result = func(*tree_map(_inner, args), **_unpinned(plain))
    if not there or not any(isinstance(x, Tensor) for x in tree_leaves(result)):
        return result
    if func is aten.copy_.default:
        return args[0]
    if func is aten._to_copy.default:
        return OnGpu(result)
    return return_and_correct_aliasing(func, args, kwargs, tree_map(_outer, result))


def _inner(x: Any) -> Any:
    return x.inner if isinstance(x, OnGpu) else x


def _outer(x: Any) -> Any:
    return OnGpu(x) if isinstance(x, Tensor) and not isinstance(x, OnGpu) else x


def _zeros_there(x: Any) -> Any:
    host = isinstance(x, Tensor) and not isinstance(x, OnGpu)
    return OnGpu(x) if host and not x.any() else x


def _unpinned(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name != "pin_memory"}


def _refuse(
    func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], leaves: Sequence[Tensor],
    there: bool,
) -> None:  # fmt: skip
    """What a GPU refuses."""
    generator = kwargs.get("generator")
    if generator is not None and (generator._cdata in GENERATORS) != there:
        raise TwoDevicesError(f"{func}: a generator of the other device")
    if func in (aten.copy_.default, aten._to_copy.default):
        return
    number = torch.Tag.pointwise in func.tags or func in NUMBERED
    host = [x for x in leaves if not isinstance(x, OnGpu) and (x.dim() > 0 or not number)]
    if func in INDEXED:  # indices may be the host's
        host = [x for x in host if all(x is not index for index in args[1])]
    if host and there:
        raise TwoDevicesError(f"{func}: {[(tuple(x.shape), str(x.device)) for x in leaves]}")


def _wait(
    func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], ours: bool, there: bool
) -> None:
    """What the host waits for."""
    if ours and func in READS:
        WAITS.note(str(func))
    if func is aten._to_copy.default and ours != there and not kwargs.get("non_blocking"):
        WAITS.note("a copy to it" if there else "a copy from it")
    if func is aten.copy_.default:
        ways = [isinstance(x, OnGpu) for x in args[:2]]
        if ways[0] != ways[1] and not (any(args[2:]) or kwargs.get("non_blocking")):
            WAITS.note("a copy to it" if ways[0] else "a copy from it")
    if ours and func in INDEXED:
        fills = len(args) > 2 and args[2].dim() == 0 and not isinstance(args[2], OnGpu)
        for index in (x for x in args[1] if x is not None):
            if index.dtype in (torch.bool, torch.uint8):
                if not fills:
                    WAITS.note("an index by a mask")
            elif not isinstance(index, OnGpu):
                WAITS.note("an index from the host")


class Operations(TorchDispatchMode):
    """What makes tensors on it, or works on some."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        some = any(isinstance(x, OnGpu) for x in tree_leaves((args, kwargs)))
        if some or is_gpu(kwargs.get("device")) or kwargs.get("generator") is not None:
            return _run(func, args, kwargs)
        return func(*args, **_unpinned(kwargs))


class Functions(TorchFunctionMode):
    """What C++ would ask the driver for before any operation is dispatched."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if args and isinstance(args[0], Tensor) and not isinstance(args[0], OnGpu):
            if func is Tensor.to:
                device, dtype, beside, *_ = _asked(args[1:], kwargs)
                if is_gpu(device):
                    return _moved(args[0], GPU, dtype, beside)
            if func is Tensor.cuda:
                return _moved(args[0], GPU, None, kwargs.get("non_blocking", False))
        if func in (torch.tensor, torch.as_tensor) and is_gpu(kwargs.get("device")):
            rest = {k: v for k, v in kwargs.items() if k not in ("device", "requires_grad")}
            made = func(*args, **rest)
            x = made if isinstance(made, OnGpu) else _moved(made, GPU)
            return x.requires_grad_(kwargs.get("requires_grad", False))
        if is_gpu(kwargs.get("device")):
            kwargs = {**kwargs, "device": GPU}
        return func(*args, **kwargs)
