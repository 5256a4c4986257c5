"""In what runs differ: settings of the command line, and parts of the method as recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import cast

import pandas as pd

from workbench.comparison.labels import SAME, Group, groups_of, run_names, settings_of
from workbench.comparison.recorded import (
    method_parts,
    others_of,
    parts_of,
    recipe_of,
    stage_names,
    stages_of,
    telling,
)
from workbench.trace.runs import Run

_NOT_THERE = "(none)"


def settings_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """The settings in which runs differ: one row per run, one column per setting.

    Returns:
        Column run (of `run_names`), then every setting of the command line that is not the same in
        all runs; where one was not started from there also every recorded part of method, space and
        images that is not.
    """
    known, parts = [settings_of(run) for run in runs], [parts_of(run) for run in runs]
    if not all(known):
        for own, more in zip(known, parts, strict=True):
            own |= {n: more[n] for n in telling(parts) if n in more and n not in own}
    rows = zip(run_names(runs), known, strict=True)
    frame = pd.DataFrame([{"run": name, **own} for name, own in rows])
    texts = {str(name): set(frame[name].astype(str).tolist()) for name in frame.columns}
    differ = [name for name, values in texts.items() if name == "run" or len(values) > 1]
    return frame.loc[:, differ]


def mixed_settings(runs: Sequence[Run]) -> list[str]:
    """The settings, beside the seed, that are not the same in all of these seeds of one thing."""
    return [str(name) for name in settings_frame(runs).columns if name in SAME - {"seed"}]


def place_differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Which recorded parts a method has otherwise on another space or other images, by method."""
    found: dict[str, dict[Group, dict[str, str]]] = {}
    for group, run in zip(groups_of(runs), runs, strict=True):
        found.setdefault(group.tuned, {}).setdefault(group, method_parts(run))
    names = {method: telling(list(own.values())) for method, own in found.items()}
    return {method: differ for method, differ in names.items() if differ}


def recipe_differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """In what the trainings of what these runs found differ beside their seed: values by name."""
    recipes = [own for own in map(recipe_of, runs) if own]
    names = dict.fromkeys(name for one in recipes for name in one)
    values = {n: list(dict.fromkeys(one[n] for one in recipes if n in one)) for n in names}
    return {name: found for name, found in values.items() if len(found) > 1}


def method_differences(runs: Sequence[Run], *, base: str | None = None) -> pd.DataFrame:
    """What the other methods change of one, part by part, as their runs recorded it.

    Stages are compared from the last one backwards, so that a warm-up in front shows as itself: a
    row with what it has otherwise than the last stage of its method.
    Of each method the first run counts; a part that the same method has otherwise in another run
    is told by `settings_frame`.

    Args:
        runs: The runs.
        base: The method that the others are held against; by default the one of most runs.

    Returns:
        Columns method, field (of several stages with the stage's name in front), before (in
        `base`), after; "(none)" where one of the two has nothing there.

    Raises:
        ValueError: if no run has the method `base`.
    """
    known = [run for run in runs if isinstance(run.meta.get("method"), dict)]
    names = [str(run.named("method")) for run in known]
    first = {name: known[names.index(name)] for name in dict.fromkeys(names)}
    columns = ["method", "field", "before", "after"]
    if not first:
        return pd.DataFrame(columns=columns)
    base = max(first, key=names.count) if base is None else base
    if base not in first:
        raise ValueError(f"no run of {base!r} says its parts; choose one of {', '.join(first)}")
    rows = [
        {"method": name, "field": field, "before": before, "after": after}
        for name, run in first.items()
        for field, before, after in _changes(_method(first[base]), _method(run))
    ]
    return pd.DataFrame(rows, columns=columns)


def _method(run: Run) -> Mapping[str, object]:
    return cast("Mapping[str, object]", run.meta["method"])


def _changes(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[tuple[str, ...]]:
    """Field, before and after of every part that is not the same."""
    named = (list(zip(stage_names(one), stages_of(one), strict=True)) for one in (old, new))
    pairs = list(zip_longest(*map(reversed, named)))
    for before, after in reversed(pairs):
        if before and after:
            prefix = "" if len(pairs) == 1 else f"{after[0]}."
            for name, one, other in _unequal(before[1], after[1]):
                yield f"{prefix}{name}", one, other
        else:
            told, stage = after or before
            own = stages_of(new if after else old)[-1]
            text = ", ".join(
                f"{name}={one}" for name, one, _ in _unequal(stage, own) if name != "name"
            )
            ends = (_NOT_THERE, text) if after else (text, _NOT_THERE)
            yield f"stage {told}, beside the last one", *ends
    yield from _unequal(others_of(old), others_of(new))


def _unequal(
    before: Mapping[str, object], after: Mapping[str, object]
) -> Iterator[tuple[str, str, str]]:
    for name in {**before, **after}:
        one, other = before.get(name, _NOT_THERE), after.get(name, _NOT_THERE)
        if one != other:
            yield name, str(one), str(other)
