"""A progress bar beside the events: epoch, loss, accuracy, what is alive, time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TypeVar

from tqdm.auto import tqdm

from workbench.events import EpochEnded, Resumed, StageStarted, Stepped, Stopped

E = TypeVar("E")

_CURVES = ("loss_train", "loss_val", "loss", "accuracy_train", "accuracy_val")
_REFRESH_SECONDS = 0.5  # a figure on a GPU is fetched this often, no oftener


def progress(events: Iterator[E], *, title: str, disable: bool | None = None) -> Iterator[E]:
    """Pass `events` on, unchanged, and show on stderr where they are.

    Args:
        title: what stands in front of the bar.
        disable: no bar; by default there is one wherever stderr is a terminal or a notebook.
    """
    shown = 0.0
    with tqdm(desc=title, unit="step", disable=disable, leave=True) as bar:
        for event in events:
            match event:
                case StageStarted():
                    bar.reset(total=event.clock.steps)
                case Resumed():
                    bar.reset(total=event.clock.steps)
                    bar.update(event.clock.step)
                case Stepped():
                    bar.update(event.clock.step + 1 - bar.n)
                    if time.monotonic() - shown > _REFRESH_SECONDS and not bar.disable:
                        shown = time.monotonic()
                        bar.set_postfix_str(_step_text(event), refresh=False)
                case EpochEnded() if event.genotype is not None and event.alive is None:
                    bar.total = event.clock.steps
                    bar.update(event.clock.step + 1 - bar.n)
                    bar.set_postfix_str(_epoch_text(event), refresh=True)
                case Stopped():
                    bar.write(f"stopped early: {event.reason}")
                case _:
                    pass  # nothing to show
            yield event


def _step_text(event: Stepped) -> str:
    alive = sum(int(mask.sum()) for mask in event.alive.values())
    figures = {name: float(value) for name, value in event.scalars.items()}
    parts = [f"epoch {event.clock.epoch + 1}/{event.clock.epochs}"]
    for name in (*_CURVES, "score", "best_score"):
        if name in figures:
            parts.append(f"{name.replace('_', ' ')} {figures[name]:.3f}")
    return ", ".join([*parts, f"alive {alive}"])


def _epoch_text(event: EpochEnded) -> str:
    return (
        f"epoch {event.clock.epoch + 1}/{event.clock.epochs}, "
        f"loss {event.scalars['loss_train']:.3f}, accuracy {event.scalars['accuracy_train']:.3f}"
    )


def followed(events: Generator[E], title: str, quiet: bool | None) -> E | None:
    """Let `events` come to their end beside a progress bar; the last one, if there was one."""
    with closing(events):
        last = deque(progress(events, title=title, disable=quiet), maxlen=1)
    return last[0] if last else None
