"""What rules see of the epochs before, and its saved state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from io import BytesIO

import torch

from workbench.events import EpochEnded
from workbench.past import Past
from workbench.protocols import Clock, Rows
from workbench.snapshots import Moment, load_state
from workbench.spaces.genotype import CellGenes, Gene, Genotype

COUNT = 130  # more than two blocks


def genotype(op: str) -> Genotype:
    genes = (Gene(op, 0, 2), Gene(op, 1, 2))
    return Genotype((CellGenes("normal", 2, 1, genes, (2,)),))


def ended(epoch: int) -> EpochEnded:
    scalars = {"loss_train": 0.1 * epoch + 1 / 3} | (
        {"eigenvalue": 1 / (epoch + 7)} if epoch else {}
    )
    found = genotype("skip_connect" if epoch % 3 else "none") if epoch != 5 else None
    clock = Clock(1, epoch, COUNT, epoch * 9, COUNT * 9)
    macs = None if epoch == 4 else 2**60 + epoch
    return EpochEnded(clock, scalars, 0.7 + epoch / 9, 2**33 + epoch, found, 100, macs, 8, 1000)


def mix(epoch: int) -> Rows:
    return {
        "normal": torch.full((2, 3), epoch + 1 / 7, dtype=torch.float64),
        "reduce": torch.full((5, 2), -epoch / 7, dtype=torch.float64),
    }


def past(count: int) -> Past:
    out = Past()
    for epoch in range(count):
        out.add(ended(epoch), mix(epoch))
    return out


def saved(state: dict) -> dict:
    stream = BytesIO()
    Moment(lambda: state).save(stream)
    stream.seek(0)
    return load_state(stream)


def same(a: Sequence[Rows], b: Sequence[Rows]) -> bool:
    return [*map(repr, map(_lists, a))] == [*map(repr, map(_lists, b))]


def _lists(rows: Rows) -> dict[str, list]:
    return {kind: values.tolist() for kind, values in rows.items()}


def test_what_a_rule_was_given_does_not_grow() -> None:
    grows = past(70)
    before, rows = grows.ended, grows.history
    for epoch in range(70, COUNT):
        grows.add(ended(epoch), mix(epoch))
    assert (len(before), len(rows)) == (70, 70)
    assert before[-1] == ended(69)
    assert same(rows[-2:], [mix(68), mix(69)])
    assert [event.clock.epoch for event in grows.ended] == [*range(COUNT)]
    assert same(grows.history, [mix(epoch) for epoch in range(COUNT)])
    assert same([grows.history[-1]], [mix(COUNT - 1)])
    assert not Past().ended
    assert not Past().history


def test_mixing_weights_are_those_of_then() -> None:
    rows, out = mix(3), Past()
    out.add(ended(3), rows)
    rows["normal"].zero_()
    assert same(out.history, [mix(3)])


def test_a_saved_past_is_the_same() -> None:
    for count in (0, 1, 6, COUNT):
        again = Past.from_state(saved(past(count).state_dict()))
        assert list(again.ended) == [ended(epoch) for epoch in range(count)]
        assert same(again.history, [mix(epoch) for epoch in range(count)])


def test_a_state_of_before_there_were_columns_opens() -> None:
    def values(event: EpochEnded) -> dict:
        text = None if event.genotype is None else event.genotype.to_json()
        return {**vars(event), "clock": asdict(event.clock), "genotype": text}

    state = {
        "history": [mix(epoch) for epoch in range(9)],
        "ended": [values(ended(epoch)) for epoch in range(9)],
    }
    again = Past.from_state(saved(state))
    assert list(again.ended) == [ended(epoch) for epoch in range(9)]
    assert same(again.history, [mix(epoch) for epoch in range(9)])


def test_a_genotype_that_comes_again_is_kept_once() -> None:
    out = Past()
    for epoch in range(12):
        event = ended(epoch)
        known = None if event.genotype is None else out.known(event.genotype)
        out.add(replace(event, genotype=known), mix(epoch))
    again = Past.from_state(saved(out.state_dict()))
    for kept in (out, again):
        assert len({id(event.genotype) for event in kept.ended if event.genotype}) == 2


def test_a_saved_epoch_takes_few_bytes() -> None:
    sizes = []
    for count in (64, 128):
        stream = BytesIO()
        Moment(past(count).state_dict).save(stream)
        sizes.append(len(stream.getvalue()))
    numbers = sum(rows.numel() * rows.element_size() for rows in mix(0).values())
    assert (sizes[1] - sizes[0]) / 64 < numbers + 200
