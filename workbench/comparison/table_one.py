"""A table in the form of paper B's Table 1: methods down, search spaces and data across."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from workbench.comparison.differences import mixed_settings, place_differences, recipe_differences
from workbench.comparison.labels import grouped, groups_of
from workbench.comparison.numbers import significant
from workbench.comparison.runs import accuracies, runs_frame
from workbench.comparison.spread import spread
from workbench.limits import printable
from workbench.trace.runs import Run

_NOTHING = "–"
_SHORT = 36.0  # seconds: less is less than a hundredth of an hour


def table_one(runs: Sequence[Run], *, quantities: Sequence[str] | None = None) -> pd.DataFrame:
    """Methods as rows; for every search space and data set what its searches gave, as texts.

    Args:
        runs: The runs.
        quantities: Which of `QUANTITIES`, in order; all by default.  Test accuracy alone is the
            form of the paper.

    Returns:
        Three levels of columns: space, data, quantity; the first column, of the methods, has its
        name in the last level.  "–" stands where nothing is known.  Accuracy is mean ± standard
        deviation over searches, of each the mean over its retrainings.  Parameters and MACs are of
        the evaluated networks; where no run is evaluated, of those last derived, at the search's
        size.  Searches are those the accuracy is of; search cost is the time of the mean search,
        evaluated or not, on the device it ran on; one that did not finish counts where none did.

    Raises:
        ValueError: if a quantity is unknown.

    "Improving differentiable neural architecture search with sparse connections and model
    pruning" (paper B), Table 1, which gives test accuracy alone, without deviations.
    """
    chosen = list(QUANTITIES) if quantities is None else list(quantities)
    unknown = [name for name in chosen if name not in QUANTITIES]
    if unknown:
        raise ValueError(f"no quantity {unknown[0]!r}; choose some of {', '.join(QUANTITIES)}")
    groups = groups_of(runs)
    methods = list(dict.fromkeys(group.tuned for group in groups))
    places = list(dict.fromkeys((group.space, group.data) for group in groups))
    pairs = list(zip(groups, runs, strict=True))
    columns: dict[tuple[str, str, str], list[str]] = {("", "", "method"): methods}
    for place in places:
        here = [(group.tuned, run) for group, run in pairs if (group.space, group.data) == place]
        own = [[run for name, run in here if name == method] for method in methods]
        for name in chosen:
            columns[(*place, name)] = [QUANTITIES[name](part) if part else _NOTHING for part in own]
    return pd.DataFrame(columns)


def table_note(runs: Sequence[Run]) -> str:
    """What the ± of `table_one` is, and what the reader has to know of the runs, as sentences."""
    sentences = [
        "±: standard deviation over searches, each taken as the mean over its retrainings; it "
        "holds the luck of both.",
        "Retraining sd: the pooled deviation of trainings of one network with other seeds.",
        "Search cost: time of one finished search, evaluated or not, on the device named.",
        "Searches: those evaluated, which the accuracy is of.",
    ]
    for name, own in grouped(runs):
        others = sum(not run.evaluations for run in own)
        if others:
            verb = "is" if others == 1 else "are"
            sentences.append(f"Of {name}, {others} of {len(own)} searches {verb} not evaluated.")
        if not any(run.evaluations for run in own):
            sentences.append(
                f"Parameters and MACs of {name} are of the network at the search's size, for none "
                "of its searches is evaluated."
            )
        mixed = mixed_settings(own)
        if mixed:
            sentences.append(f"Runs of {name} differ in {', '.join(mixed)}.")
        sentences += _cautions(name, own)
    for name, differ in place_differences(runs).items():
        sentences.append(f"In {', '.join(differ)} {name} is set otherwise in other columns.")
    return printable(" ".join(sentences))


def _cautions(name: str, runs: Sequence[Run]) -> Iterator[str]:
    """What makes means over these runs less than they seem."""
    short = [run for run in runs if run.status != "finished"]
    if short:
        states = ", ".join(f"{run.state} after epoch {len(run.epochs)}" for run in short)
        yield f"Of {name}, {len(short)} of {len(runs)} searches did not finish ({states})."
    told = [run.meta.get("seed") for run in runs]
    seeds = [printable(str(seed)) for seed in told if seed is not None]
    again = [seed for seed in dict.fromkeys(seeds) if seeds.count(seed) > 1]
    if again:
        yield (
            f"Several searches of {name} have the seed {', '.join(again)}: they count as many, and "
            "share their luck."
        )
    differ = recipe_differences(runs)
    if differ:
        told = "; ".join(f"{key} {', '.join(values)}" for key, values in differ.items())
        yield (
            f"Networks of {name} were trained by other recipes ({told}): no deviation here is of "
            "luck alone."
        )


def _accuracy(runs: Sequence[Run]) -> str:
    found = spread([accuracies(run) for run in runs])
    if not found.searches:
        return _NOTHING
    sd = "" if np.isnan(found.search_sd) else f" ± {100 * found.search_sd:.2f}"
    return f"{100 * found.mean:.2f}{sd}"


def _retraining_sd(runs: Sequence[Run]) -> str:
    sd = spread([accuracies(run) for run in runs]).retraining_sd
    return _NOTHING if np.isnan(sd) else f"{100 * sd:.2f}"


def _millions(column: str) -> Callable[[Sequence[Run]], str]:
    def text(runs: Sequence[Run]) -> str:
        known = [run for run in runs if run.evaluations] or runs
        values = runs_frame(known)[column].astype(float).dropna()
        return significant(float(np.mean(values)) / 1e6, 3) if len(values) else _NOTHING

    return text


def _cost(runs: Sequence[Run]) -> str:
    """Time by device: those of one are never counted as those of another.

    Of searches that finished, if any did.
    """
    texts, finished = [], [run for run in runs if run.status == "finished"]
    frame = runs_frame(finished or runs)
    for name in dict.fromkeys(frame["device"]):
        seconds = frame.loc[frame["device"] == name, "seconds"].astype(float)
        if not np.isnan(mean := seconds.mean()):
            long = mean >= _SHORT
            time = f"{significant(mean / 3600 if long else mean, 2)} {'h' if long else 's'}"
            texts.append(f"{time} {name}")
    return ", ".join(texts) or _NOTHING


def _searches(runs: Sequence[Run]) -> str:
    return str(spread([accuracies(run) for run in runs]).searches)


def _retrainings(runs: Sequence[Run]) -> str:
    return str(sum(len(run.evaluations) for run in runs))


QUANTITIES: Mapping[str, Callable[[Sequence[Run]], str]] = {
    "test accuracy (%)": _accuracy,
    "retraining sd (%)": _retraining_sd,
    "parameters (M)": _millions("parameters"),
    "MACs (M)": _millions("macs"),
    "search cost": _cost,
    "searches": _searches,
    "retrainings": _retrainings,
}
