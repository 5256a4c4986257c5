"""Who moves when, and numbers that change over a search."""

from __future__ import annotations

from collections import Counter

import pytest

from workbench.parts.schedules import (
    Alternating,
    ArchOnly,
    Cosine,
    Exponential,
    Frozen,
    Joint,
    Linear,
    Piecewise,
    WeightsOnly,
    scalar_at,
    scalar_range,
)
from workbench.protocols import Clock


def updates(schedule: object, epochs: int = 1, batches: int = 10) -> list[tuple[str, ...]]:
    steps = epochs * batches
    clocks = [Clock(0, step // batches, epochs, step, steps) for step in range(steps)]
    return [tuple(schedule(clock)) for clock in clocks]


def counts(schedule: object, epochs: int = 1) -> Counter[str]:
    return Counter(update for step in updates(schedule, epochs) for update in step)


def test_one_step_of_each_is_the_order_of_darts() -> None:
    assert set(updates(Alternating())) == {("arch", "weights")}
    assert set(updates(Alternating(order="weights_first"))) == {("weights", "arch")}


def test_ten_batches_at_three_weight_steps_are_ten_and_three() -> None:
    schedule = Alternating(weight_steps=3, order="weights_first")
    assert counts(schedule) == {"weights": 10, "arch": 3}
    moved = [index for index, step in enumerate(updates(schedule)) if "arch" in step]
    assert moved == [2, 5, 8]


def test_a_round_goes_on_over_the_end_of_an_epoch() -> None:
    schedule = Alternating(weight_steps=3, order="weights_first")
    assert counts(schedule, epochs=3) == {"weights": 30, "arch": 10}
    moved = [index for index, step in enumerate(updates(schedule, epochs=2)) if "arch" in step]
    assert moved == [2, 5, 8, 11, 14, 17]


@pytest.mark.parametrize("weight_steps", [1, 2, 3, 5, 7])
def test_weights_first_ends_a_round_and_arch_first_begins_one(weight_steps: int) -> None:
    first = updates(Alternating(weight_steps))
    last = updates(Alternating(weight_steps, order="weights_first"))
    for index in range(10):
        assert first[index] == (("arch", "weights") if index % weight_steps == 0 else ("weights",))
        due = index % weight_steps == weight_steps - 1
        assert last[index] == (("weights", "arch") if due else ("weights",))


@pytest.mark.parametrize("order", ["arch_first", "weights_first"])
def test_only_weights_move_in_warm_up_epochs(order: str) -> None:
    steps = updates(Alternating(order=order, warmup_epochs=2), epochs=3)
    assert set(steps[:20]) == {("weights",)}
    assert all("arch" in step and "weights" in step for step in steps[20:])


def test_joint_and_single_updates_never_change() -> None:
    assert set(updates(Joint())) == {("joint",)}
    assert set(updates(WeightsOnly())) == {("weights",)}
    assert set(updates(ArchOnly())) == {("arch",)}


@pytest.mark.parametrize("weight_steps", [0, -1])
def test_a_round_has_a_weight_step(weight_steps: int) -> None:
    with pytest.raises(ValueError, match="needs at least 1 weight step"):
        Alternating(weight_steps=weight_steps)


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.025), (25, 0.013), (49, 0.0010237)])
def test_the_cosine_of_darts_has_its_known_values(epoch: int, rate: float) -> None:
    assert Cosine(0.025, 0.001)(epoch / 50) == pytest.approx(rate, abs=5e-8)


@pytest.mark.parametrize("schedule", [Linear(1.0, 3.0), Cosine(0.025), Linear(2, 2), Linear(3, 1)])
def test_a_schedule_goes_from_start_to_end_without_turning(schedule: Linear | Cosine) -> None:
    values = [schedule(step / 20) for step in range(21)]
    assert (values[0], values[-1]) == (schedule.start, pytest.approx(schedule.end, abs=1e-15))
    assert values in (sorted(values), sorted(values, reverse=True))
    assert values[10] == pytest.approx((schedule.start + schedule.end) / 2)
    assert scalar_range(schedule) == pytest.approx((min(values), max(values)), abs=1e-15)
    assert scalar_at(schedule, 0.35) == schedule(0.35)


def test_half_of_a_cosine_is_the_first_half_of_the_whole() -> None:
    half, whole = Cosine(0.025, 0.001, share=0.5), Cosine(0.025, 0.001)
    assert [half(epoch / 25) for epoch in range(26)] == [whole(epoch / 50) for epoch in range(26)]
    assert scalar_range(half) == pytest.approx((0.013, 0.025))


@pytest.mark.parametrize("share", [0, 1.5])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match=rf"`Cosine\(share={share}\)` needs a share in"):
        Cosine(1.0, share=share)


def test_an_exponential_has_the_temperatures_of_asap() -> None:
    """1.6 times 0.95 per epoch of 50 crosses 1 at epoch 10."""
    tau = Exponential(1.6, 1.6 * 0.95**50)
    for epoch in range(51):
        assert tau(epoch / 50) == pytest.approx(1.6 * 0.95**epoch)
    assert tau(9 / 50) == pytest.approx(1.0084, abs=5e-5)
    assert tau(10 / 50) == pytest.approx(0.9580, abs=5e-5)
    assert scalar_range(tau) == (tau(1.0), 1.6)


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.0), (-1.0, -2.0)])
def test_an_exponential_stays_above_zero(start: float, end: float) -> None:
    with pytest.raises(ValueError, match="needs a start and an end above 0"):
        Exponential(start, end)


def test_a_piecewise_number_runs_each_piece_from_end_to_end() -> None:
    two = Piecewise(Linear(1.0, 3.0), Linear(10.0, 20.0), at=0.25)
    assert [two(t) for t in (0.0, 0.125, 0.25, 0.625, 1.0)] == [1.0, 2.0, 10.0, 15.0, 20.0]
    assert two(0.25 - 1e-9) == pytest.approx(3.0)
    assert scalar_range(two) == (1.0, 20.0)
    assert scalar_range(Piecewise(5.0, Linear(1.0, 2.0), at=0.5)) == (1.0, 5.0)
    assert scalar_at(Piecewise(5.0, 1.0, at=0.5), 0.75) == 1.0


@pytest.mark.parametrize("at", [0, 1])
def test_a_piece_has_a_length(at: float) -> None:
    with pytest.raises(ValueError, match=rf"`Piecewise\(at={at}\)` needs a progress between"):
        Piecewise(1.0, 2.0, at=at)


def test_a_constant_is_a_schedule_that_stays() -> None:
    assert scalar_at(2, 0.7) == 2.0
    assert scalar_range(2.5) == (2.5, 2.5)


def test_nobody_moves_in_a_search_that_only_measures() -> None:
    assert set(updates(Frozen())) == {()}


def test_progress_runs_from_zero_to_one() -> None:
    assert [Clock(0, 0, 1, step, 4).t for step in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert Clock(0, 0, 0, 0, 0).t == 1.0
