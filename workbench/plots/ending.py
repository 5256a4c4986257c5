"""How a search ended, and what its pruner held back, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

from workbench.comparison.numbers import counted
from workbench.comparison.recorded import stage_names, stages_of
from workbench.limits import printable
from workbench.trace import folder

if TYPE_CHECKING:
    from workbench.trace.runs import Run


def ending(run: Run) -> str:
    """Why the search ended where it did, or how far it is; text of one line.

    It reached its last epoch, or was stopped by a rule of its method, or diverged or failed with an
    error, or was interrupted or killed.  Of several stages, rules that ended earlier ones too.
    """
    return printable("; ".join(map(_one_line, [*_stops(run), *_last(run)])))


def held_back(run: Run) -> str:
    """`3 operations (among the last operations into its node)`; the empty text where none was.

    Held back is what the pruner wanted gone and the search kept.
    """
    held = run.held.drop_duplicates(["stage", "edge", "op"])
    reasons = Counter(map(str, held["reason"]))
    told = [f"{counted(n, 'operation')} ({_one_line(why)})" for why, n in reasons.items()]
    return printable(", ".join(told))


def epochs(run: Run) -> tuple[int, int]:
    """Epochs that ended, and those planned: of the stages that began and of the method's others."""
    planned = [*_planned(run).values()]
    for stage in stages_of(_method(run))[len(planned) :]:
        count = str(stage.get("epochs", ""))
        planned.append(int(count) if count.isascii() and count.isdigit() else 0)
    return len(run.epochs), sum(planned)


def _stops(run: Run) -> Iterator[str]:
    """A sentence for every stage that a rule ended before its last epoch."""
    planned = _planned(run)
    for line in _told(run, "Stopped"):
        stage, done = cast("int", line["stage"]), cast("int", line["epoch"]) + 1
        after = f"after {done} of {counted(planned.get(stage, done), 'epoch')}"
        yield (f"stopped by {_rule(run, stage)} {after}{_stage_name(run, stage)}: {line['reason']}")


def _last(run: Run) -> Iterator[str]:
    """What became of the stage that was begun last; nothing where its own rule ended the search."""
    done, planned = epochs(run)
    after = f" after {done} of {counted(planned, 'epoch')}" if planned else ""
    error = str(run.header["error"] or "no error was recorded")
    match run.state:
        case "finished":
            if done + _spared(run) < planned or run.genotype is None:
                yield f"ended{after}, no reason was recorded"
            elif not _ruled_out(run):
                yield f"reached its last epoch, {done} of {planned}" if done else "came to its end"
        case "failed" if error.startswith("DivergenceError: "):
            yield f"diverged{after}: {error.removeprefix('DivergenceError: ')}"
        case "failed":
            yield f"failed{after}: {error}"
        case "stopped":
            yield f"interrupted{after}, {_saved(run)}"
        case "killed":
            yield f"killed{after}, its process is gone; {_saved(run)}"
        case state:
            yield f"not ended: {state}{after}"


def _ruled_out(run: Run) -> bool:
    """Did a rule end the last stage?"""
    stops = [line["stage"] for line in _told(run, "Stopped")]
    return bool(stops) and stops[-1] == max(_planned(run))


def _spared(run: Run) -> int:
    """How many epochs the search was spared by its rules."""
    planned = _planned(run)
    stops = [cast("Mapping[str, int]", line) for line in _told(run, "Stopped")]
    return sum(planned.get(line["stage"], 0) - line["epoch"] - 1 for line in stops)


def _saved(run: Run) -> str:
    there = any((run.path / folder.CHECKPOINTS).glob("checkpoint_*.json"))
    return "saved: `workbench search --resume` goes on" if there else "and no state is saved"


def _rule(run: Run, stage: int) -> str:
    """The stop rule of a stage as the method describes it."""
    stages = stages_of(_method(run))
    rule = stages[stage].get("stop") if stage < len(stages) else None
    return "its rule" if rule in (None, "None") else f"its rule {rule}"


def _stage_name(run: Run, stage: int) -> str:
    """` of stage 1 (search)`, where there are several."""
    names = stage_names(_method(run))
    if max(len(names), len(_planned(run))) < 2:
        return ""
    return f" of stage {stage}" + (f" ({names[stage]})" if stage < len(names) else "")


def _method(run: Run) -> Mapping[str, object]:
    method = run.meta.get("method")
    return method if isinstance(method, Mapping) else {}


def _planned(run: Run) -> dict[int, int]:
    """Epochs of every stage that began, by its number."""
    begun = [cast("Mapping[str, int]", line) for line in _told(run, "StageStarted")]
    return {line["stage"]: line["epochs"] for line in begun}


def _told(run: Run, event: str) -> list[dict[str, object]]:
    return [line for line in run.events if line["event"] == event]


def _one_line(text: str) -> str:
    return " ".join(text.split())
