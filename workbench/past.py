"""The epochs of a stage that are over: for rules that look back, and as its saved state.

What is kept of an epoch stays for the whole search, so it is little: its event, its genotype only
where no epoch before had the same, its mixing weights beside those of others in one tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Generic, TypeVar, overload

import torch
from torch import Tensor

from workbench.events import EpochEnded
from workbench.protocols import Clock, Rows
from workbench.spaces.genotype import Genotype

T = TypeVar("T")
State = dict[str, Any]
_BLOCK = 64  # epochs whose mixing weights lie in one tensor
_COMPOSED = ("clock", "scalars", "genotype")
_PLAIN = tuple(field.name for field in fields(EpochEnded) if field.name not in _COMPOSED)


class Past:
    """What happened in the epochs so far."""

    def __init__(self) -> None:
        self._ended: list[EpochEnded] = []
        self._blocks: list[Rows] = []  # {kind: (_BLOCK, edges, ops)}
        self._genotypes: dict[Genotype, Genotype] = {}

    @property
    def ended(self) -> Sequence[EpochEnded]:
        """The events of these epochs, and not of those to come."""
        return _SoFar(self._ended.__getitem__, len(self._ended))

    @property
    def history(self) -> Sequence[Rows]:
        """The mixing weights `{kind: (edges, ops)}` at their ends, on the CPU."""
        return _SoFar(self._mix_at, len(self._ended))

    def _mix_at(self, epoch: int) -> Rows:
        block = self._blocks[epoch // _BLOCK]
        return {kind: rows[epoch % _BLOCK].clone() for kind, rows in block.items()}

    def known(self, genotype: Genotype) -> Genotype:
        """The genotype, as the object of an epoch before if that found the same."""
        return self._genotypes.setdefault(genotype, genotype)

    def add(self, ended: EpochEnded, mix: Rows) -> None:
        """Another epoch is over; `mix` is copied."""
        place = len(self._ended) % _BLOCK
        if not place:
            self._blocks.append(
                {k: torch.zeros(_BLOCK, *rows.shape, dtype=rows.dtype) for k, rows in mix.items()}
            )
        for kind, rows in mix.items():
            self._blocks[-1][kind][place].copy_(rows.detach())
        self._ended.append(ended)

    def state_dict(self) -> State:
        """All of it as tensors and plain values, a column per field."""
        kinds = self._blocks[0] if self._blocks else ()
        count = len(self._ended)
        return {
            "history": {k: torch.cat([block[k] for block in self._blocks])[:count] for k in kinds},
            "ended": _columns(self._ended),
        }

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> Past:
        """What `state_dict` told of, or a state of before it told by columns."""
        past, history, ended = Past(), state["history"], state["ended"]
        events = [_event(values) for values in ended] if isinstance(ended, list) else _events(ended)
        if isinstance(history, dict):
            rows = [{k: column[at] for k, column in history.items()} for at in range(len(events))]
        else:
            rows = history
        for event, mix in zip(events, rows, strict=True):
            if event.genotype is not None:
                past.known(event.genotype)
            past.add(event, mix)
        return past


class _SoFar(Sequence[T], Generic[T]):
    """What there is of something that grows, without a copy: rules get one in every step.

    Args:
        at: what is at a place.
        count: how many places there are now.
    """

    def __init__(self, at: Callable[[int], T], count: int) -> None:
        self._at, self._count = at, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        places = range(self._count)[index]
        return self._at(places) if isinstance(places, int) else tuple(map(self._at, places))


def _columns(events: Sequence[EpochEnded]) -> State:
    genotypes: dict[Genotype, int] = {}
    which = [
        None if e.genotype is None else genotypes.setdefault(e.genotype, len(genotypes))
        for e in events
    ]
    names = dict.fromkeys(name for event in events for name in event.scalars)
    return {
        **{name: _column([getattr(event, name) for event in events]) for name in _PLAIN},
        "clock": {
            field.name: _column([getattr(event.clock, field.name) for event in events])
            for field in fields(Clock)
        },
        "scalars": {name: _column([event.scalars.get(name) for event in events]) for name in names},
        "genotype": _column(which),
        "genotypes": [genotype.to_json() for genotype in genotypes],
    }


def _events(columns: Mapping[str, Any]) -> list[EpochEnded]:
    """The events that `_columns` told of."""
    genotypes = [Genotype.from_json(text) for text in columns["genotypes"]]
    plain = {name: _values(columns[name]) for name in _PLAIN}
    clock = {name: _values(column) for name, column in columns["clock"].items()}
    scalars = {name: _values(column) for name, column in columns["scalars"].items()}
    return [
        EpochEnded(
            **{name: values[at] for name, values in plain.items()},
            clock=Clock(**{name: values[at] for name, values in clock.items()}),
            scalars={name: v[at] for name, v in scalars.items() if v[at] is not None},
            genotype=None if which is None else genotypes[which],
        )
        for at, which in enumerate(_values(columns["genotype"]))
    ]


def _event(values: Mapping[str, Any]) -> EpochEnded:
    """An event that was saved by itself."""
    text = values["genotype"]
    genotype = None if text is None else Genotype.from_json(text)
    return EpochEnded(**{**values, "clock": Clock(**values["clock"]), "genotype": genotype})


def _column(values: list[Any]) -> Tensor | list[Any]:
    """Numbers as one tensor that loses nothing; where some are missing they stay a list."""
    if None in values:
        return values
    whole = all(isinstance(value, int) for value in values)
    return torch.tensor(values, dtype=torch.int64 if whole else torch.float64)


def _values(column: Tensor | list[Any]) -> list[Any]:
    return column.tolist() if isinstance(column, Tensor) else column
