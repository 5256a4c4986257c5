"""Every test: one thread, so that figures and speed do not depend on the machine's load."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
import torch

# Triton reads this where its functions are made, so before anybody imports it.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# Those that take longest, so that no process has one left when the others end; before them two that
# compile the kernels the others need, and have none in common.
FIRST = (
    ("test_methods.py", "test_separable.py"),
    ("lab", "faults", "test_benchmarks.py", "test_report_page.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is long comes first; tests of a GPU run wherever there is one."""

    def turn(item: pytest.Item) -> int:
        parts = {*item.path.parts}
        return next((n for n, names in enumerate(FIRST) if parts & {*names}), len(FIRST))

    items.sort(key=turn)
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):  # not a keyword: a folder has that name
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _no_loss_of_power() -> Iterator[None]:
    """Nobody waits for the disk with thousands of records that nobody keeps; one test does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.trace.durable.sync", lambda path: None)
        yield


@pytest.fixture
def float64() -> Iterator[None]:
    """Everything new is float64 within the test."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pytest_collection_finish() -> None:
    """What is there now stays: nobody has to look through it again for what can go."""
    gc.collect()
    gc.freeze()
