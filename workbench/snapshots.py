"""The whole state of a run at one moment: trees of tensors and plain values, on disk and back."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from workbench.data import Data, describe
from workbench.errors import WorkbenchError, is_out_of_memory

State = dict[str, Any]  # of tensors, numbers, texts, lists and dicts of these
SMALL = 1 << 16  # numbers: a tensor of at most so many is saved beside others of its type
_PLACE = "<tensor>"  # the one key of what stands for such a tensor: type, first number, shape
_PARTS = {"tree", "small"}


class SnapshotError(WorkbenchError):
    """A saved state that cannot be read, or is another run's."""


class Moment:
    """Saves a state that is there now; once the run has gone on, it is gone.

    Args:
        take: the state of now.
        within: what it is saved within, such as `told_of_memory`.
    """

    def __init__(
        self,
        take: Callable[[], State],
        within: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._take: Callable[[], State] | None = take
        self._within = within

    def save(self, stream: BinaryIO) -> None:
        """Write the state into `stream`.

        Raises:
            SnapshotError: if the run has gone on.
        """
        if self._take is None:
            raise SnapshotError(
                "the run has gone on since this event; save it before asking for the next one"
            )
        with self._within():
            torch.save(_packed(self._take()), stream)

    @property
    def passed(self) -> bool:
        """Has the run gone on?"""
        return self._take is None

    def passes(self) -> None:
        """From now on there is nothing to be saved."""
        self._take = None


def load_state(path: Path | str | BinaryIO) -> State:
    """The state that a file or stream holds, on the CPU.  Nothing in it is executed.

    Raises:
        SnapshotError: if it holds none.
    """
    try:
        _refuse_packed(path)
        saved = torch.load(path, map_location="cpu", weights_only=True)
        _refuse_stretched(saved, set())
        state = _unpacked(saved)
    except Exception as e:  # whatever torch meets in bytes that are none of its own
        if is_out_of_memory(e):
            raise
        first = " ".join(str(e).split())[:200]
        raise SnapshotError(f"{path} holds no saved state ({first}); take an older one") from e
    if not isinstance(state, dict):
        raise SnapshotError(f"{path} holds a {type(state).__name__}, no saved state")
    return state


def _refuse_packed(path: Path | str | BinaryIO) -> None:
    """Whether a file takes no more room in memory than on disk; torch itself packs nothing."""
    at = 0 if isinstance(path, Path | str) else path.tell()
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if not isinstance(path, Path | str):
        path.seek(at)
    packed = [one.filename for one in members if one.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise ValueError(f"its part {packed[0]} is compressed")


def _refuse_stretched(value: Any, seen: set[int]) -> None:
    """Whether a tensor has more numbers than were saved: one can stand for any many.

    Args:
        seen: whose parts were looked at; a list may lie in many places.
    """
    if isinstance(value, dict | list | tuple):
        if id(value) in seen:
            return
        seen.add(id(value))
        for part in value.values() if isinstance(value, dict) else value:
            _refuse_stretched(part, seen)
    elif isinstance(value, Tensor):
        held = value.untyped_storage().nbytes() if value.layout == torch.strided else 0
        if value.numel() * value.element_size() > held:
            raise ValueError(f"a tensor of {value.numel():,} numbers of which {held:,} bytes exist")


@contextmanager
def taken_up() -> Iterator[None]:
    """Within, a state that lacks something, or holds what does not fit, is a SnapshotError."""
    try:
        yield
    except WorkbenchError:
        raise
    except Exception as error:  # whatever a part meets in values that are none of its own
        if is_out_of_memory(error):
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise SnapshotError(
            f"the saved state does not hold what is needed to go on ({what}); remove its file, so "
            "that the one before it is taken, or start anew"
        ) from error


def _packed(state: State) -> State:
    """A state in the form it is saved in: its small tensors side by side, one tensor per type.

    A supernet has thousands of them, and each costs as much to save as all of them at once.
    """
    small: dict[torch.dtype, list[Tensor]] = {}
    tree = _taken_out(state, small, {})
    return {"tree": tree, "small": {str(kind): torch.cat(flats) for kind, flats in small.items()}}


def _taken_out(value: Any, small: dict[torch.dtype, list[Tensor]], sizes: dict) -> Any:
    """A tree without its small tensors, which come into `small`; `sizes` counts their numbers.

    No function within another: one that calls itself would keep `small` until the collector comes,
    and among so many objects it comes once in an hour.
    """
    if isinstance(value, dict):
        return {name: _taken_out(part, small, sizes) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_taken_out(part, small, sizes) for part in value)
    if not isinstance(value, Tensor) or value.numel() > SMALL:
        return value
    kind, last = value.dtype, _channels_last(value)
    flat = (value.permute(0, 2, 3, 1) if last else value).detach().reshape(-1)
    place = sizes.get(kind, 0)
    small.setdefault(kind, []).append(flat if flat.device.type == "cpu" else flat.cpu())
    sizes[kind] = place + value.numel()
    return {_PLACE: [str(kind), place, last, *value.shape]}


def _unpacked(saved: Any) -> Any:
    """The state that `_packed` made this of; one that was saved as it was stays so."""
    if not isinstance(saved, dict) or set(saved) != _PARTS:
        return saved
    left = {kind: numbers.numel() for kind, numbers in saved["small"].items()}
    return _put_back(saved["tree"], saved["small"], left, {})


def _put_back(value: Any, small: dict[str, Tensor], left: dict[str, int], done: dict) -> Any:
    """A tree with the tensors of `small` in their places again.

    Args:
        left: how many numbers of each type are to be taken out yet.
        done: what has become of a part that may lie in many places, by its id.
    """
    if isinstance(value, dict | list | tuple):
        if id(value) not in done:
            done[id(value)] = _put_parts_back(value, small, left, done)
        return done[id(value)]
    return value


def _put_parts_back(value: Any, small: dict[str, Tensor], left: dict[str, int], done: dict) -> Any:
    if isinstance(value, dict) and set(value) != {_PLACE}:
        return {name: _put_back(part, small, left, done) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_put_back(part, small, left, done) for part in value)
    kind, first, last, *shape = value[_PLACE]
    if min([first, *shape]) < 0:
        raise ValueError(f"a tensor of shape {shape} at {first}")
    left[kind] -= math.prod(shape)
    if left[kind] < 0:
        raise ValueError("some of its numbers are taken twice")
    flat = small[kind][first : first + math.prod(shape)].clone()  # not the whole row with it
    if last:
        n, channels, height, width = shape
        return flat.view(n, height, width, channels).permute(0, 3, 1, 2)
    return flat.view(shape)


def _channels_last(value: Tensor) -> bool:
    """Does it lie so that a copy of its numbers in order would lie otherwise?"""
    if value.ndim != 4 or value.is_contiguous():
        return False
    return value.is_contiguous(memory_format=torch.channels_last)


def identity(
    about: Mapping[str, object], data: Data, seed: int, space: str | None = None
) -> dict[str, str]:
    """What tells one search or training from another, by name; `about` is how it is done.

    Args:
        space: JSON of the space that is searched; a training has none.
    """
    values = {"method": about, "data": describe(data), "seed": seed}
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
    return texts if space is None else {**texts, "space": space}


def refuse_other(state: State, mine: Mapping[str, str]) -> None:
    """Whether a state was taken of the same search or training.

    Raises:
        SnapshotError: if it was not; the line says what differs.
    """
    theirs = state.get("of")
    if not isinstance(theirs, dict):
        raise SnapshotError("this is no state of a search or a training")
    older = {"space", "number format"} - {*theirs}  # states did not say it once
    other = [name for name in mine if name not in older and theirs.get(name) != mine[name]]
    if other:
        told = "; ".join(_difference(n, str(theirs.get(n)), mine[n]) for n in other)
        raise SnapshotError(
            f"the state was saved with another {', '.join(other)} ({told}); go on with the same"
        )


def _difference(name: str, before: str, now: str) -> str:
    """Where two texts part, with a little of what is around it."""
    at = next((i for i, pair in enumerate(zip(before, now, strict=False)) if len({*pair}) > 1), 0)
    first = max(0, at - 60)
    cut = "…" if first else ""
    return f"{name}: {cut}{before[first : at + 140]} → {cut}{now[first : at + 140]}"
