"""How many pictures of a step fit into a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from _cases import WARM_UP, Case, Search
from _table import Measured
from _variants import first_line, processes

from workbench.errors import is_out_of_memory

MOST = 2**14  # pictures; more are not tried


def largest(fits: Callable[[int], bool], first: int, factor: float = 2.0) -> int:
    """The largest number that fits, to 5 %: doubling or halving from `first`, then bisecting.

    Args:
        fits: whether a number does; if one does, so does every smaller one.
        factor: of the first change; it is squared from one to the next, up to 2.

    Returns:
        0 if not even 1 does; at most `MOST`.
    """
    low, high, number = 0, MOST + 1, min(max(1, first), MOST)
    while True:
        if fits(number):
            low = number
        else:
            high = number
        if high - low <= max(1, low // 20):
            return low
        if low and high <= MOST:
            number = (low + high) // 2
            continue
        step = low * factor if low else high / factor
        number = min(max(low + 1, int(step)), high - 1)
        factor = min(2.0, factor**2)


def bytes_needed(case: Case) -> tuple[int | None, int]:
    """Most bytes of tensors while a search begins, None if memory runs out; and those free before.

    For a process of its own: what ran out once has left its memory in pieces.
    """
    free, _ = torch.cuda.mem_get_info(case.machine.torch_device)
    try:
        search = Search(case)
        for _ in range(WARM_UP if case.machine.graphs else 2):  # the second has all states
            search.step()
        torch.cuda.synchronize()
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return None, free
    return torch.cuda.max_memory_allocated(), free


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one it came from, says so: a capture that fails hides why."""
    while error is not None:
        if is_out_of_memory(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def largest_batch(case: Case) -> Measured:
    """The largest `batch` of a case that works; `bytes` by batch tried, None for too many.

    Those of the row's own batch say where to begin, so that few trials are needed.  `error` is the
    last that was no lack of memory: at the row's own batch it ends the trials, above it is a batch
    that does not work.
    """
    usual = case.row.batch
    needed: dict[int, int | None] = {}
    free, failure = 0, None

    def fits(batch: int) -> bool:
        nonlocal free, failure
        if batch in needed:
            return needed[batch] is not None
        needed[batch] = None
        row = replace(case.row, batch=batch)
        try:
            with processes() as pool:
                needed[batch], free = pool.submit(bytes_needed, replace(case, row=row)).result()
        except Exception as error:  # whatever a process died of; it is shown
            failure = first_line(error)
        return needed[batch] is not None

    best = 0
    if fits(usual):
        guess = int(0.95 * usual * free / (needed[usual] or 1))
        best = largest(fits, guess, 1.05)
    elif failure is None:
        best = largest(fits, usual // 2)
    return {"batch": best, "bytes": dict(sorted(needed.items())), "error": failure}
