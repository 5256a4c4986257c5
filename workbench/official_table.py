"""The official benchmark of NAS-Bench-201, where it is installed, behind a table's interface.

Its files are pickles, and the two packages that read them unpickle whatever is in them: a file that
somebody else made can run any code. So none is opened unless the user says that it is trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol

from workbench.spaces.genotype import Genotype
from workbench.tables import CEILINGS, Dataset, Entry, TableError, code_of, genotype_of

_OFFICIAL = ("cifar10", "cifar100", "ImageNet16-120")  # in the order of an entry


class OfficialApi(Protocol):
    """What is asked of `nats_bench` and `nas_201_api` alike."""

    def query_index_by_arch(self, arch: str) -> int:
        """The official index of a cell's text, -1 if there is none."""
        ...

    def get_more_info(
        self, index: int, dataset: str, *, hp: str, is_random: bool
    ) -> Mapping[str, float]:
        """Figures of a cell, `test-accuracy` among them."""
        ...


@dataclass(frozen=True)
class ApiTable:
    """The official benchmark behind the same interface: means of all seeds after 200 epochs."""

    api: OfficialApi

    def lookup(self, genotype: Genotype) -> Entry:
        """The entry of a cell.

        Raises:
            TableError: if the benchmark does not hold it.
        """
        code = code_of(genotype)
        index = self.api.query_index_by_arch(str(genotype_of(code)))
        if index < 0:
            raise TableError(f"the benchmark has no record of {genotype}")
        figures = (
            float(
                self.api.get_more_info(index, official, hp="200", is_random=False)["test-accuracy"]
            )
            for official in _OFFICIAL
        )
        return Entry(code, *figures, index=index)

    def ceiling(self, dataset: Dataset) -> float:
        """The published one: asking for all 15,625 would take minutes."""
        return CEILINGS[dataset]


def official_table(path: Path | str, *, trust_pickle: bool = False) -> ApiTable:
    """The official benchmark's file or folder, through `nats_bench` or `nas_201_api`.

    Args:
        path: where it lies.
        trust_pickle: whether the file may be unpickled, which runs any code that is in it.

    Raises:
        TableError: if it is not trusted, neither is installed, or the file is none of theirs.
    """
    path = Path(path)
    if not path.exists():
        raise TableError(f"there is no table {path}")
    if not trust_pickle:
        raise TableError(
            f"{path} is no .csv, and the official benchmark's files are pickles, which can run any "
            "code when they are opened; give a CSV of the table, or, if you know who made this "
            "file, add --trust-pickle (in Python trust_pickle=True)"
        )
    try:
        module = _first_installed(("nats_bench", "nas_201_api"))
        if module.__name__ == "nats_bench":
            return ApiTable(module.create(str(path), "tss", fast_mode=path.is_dir(), verbose=False))
        return ApiTable(module.NASBench201API(str(path), verbose=False))
    except TableError:
        raise
    except Exception as error:  # whatever a library makes of a file that is not its own
        raise TableError(f"{path} is no file of the official benchmark: {error}") from error


def _first_installed(names: Iterable[str]) -> ModuleType:
    for name in names:
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    raise TableError(
        "the official benchmark needs `nats_bench` or `nas_201_api`, and neither is installed: "
        "pip install one of them, or give a CSV of the table"
    )
