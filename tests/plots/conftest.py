from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import fake_run
from workbench.trace import Run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished, pruned and evaluated search with two kinds of cells."""
    return fake_run(tmp_path_factory.mktemp("runs") / "pruned")


@pytest.fixture(scope="session")
def unpruned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A NAS-Bench-201 search that pruned nothing and was not evaluated."""
    path: Path = tmp_path_factory.mktemp("runs") / "unpruned"
    return fake_run(path, kinds=("cell",), nodes=3, prune=False, evaluated=False)


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search that began a moment ago: a space, but no step yet."""
    from tests.fakes import fake_events
    from workbench.trace import open_run, record

    path = tmp_path_factory.mktemp("runs") / "started"
    events = record(fake_events(), path)
    next(events)
    events.close()
    return open_run(path)
