"""Commands about genotypes that are at hand: what scores and tables say of them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from workbench.score_config import ScoreConfig

if TYPE_CHECKING:
    from workbench.scoring import Scored
    from workbench.tables import Entry, Table

_Flat = tyro.conf.arg(name="")
_Json = Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff]
_Trust = Annotated[bool, tyro.conf.FlagCreatePairsOff]
_Text = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="GENOTYPE")]


def score(genotype: _Text, config: Annotated[ScoreConfig, _Flat], as_json: _Json = False) -> None:
    """Score networks that nobody trained: a genotype, a file of them, or rows of a CSV.

    Args:
        genotype: a text form of either field, six digits of a NAS-Bench-201 cell, a run folder, a
            file of genotypes, one a line, or a CSV with a column genotype, arch, arch_str or code.
        config: what and how.
        as_json: print a list of objects with the keys genotype, scores and, of repeats, errors.
    """
    from tqdm.auto import tqdm

    from workbench.genotype_files import read_genotypes
    from workbench.scoring import score as scored

    given = read_genotypes(genotype)
    proxies = config.build_proxies()
    quiet = len(given) < 2 or not sys.stderr.isatty()
    found = list(tqdm(scored(given, config), "score", len(given), disable=quiet, unit="net"))
    if as_json:
        print(json.dumps([_score_row(row) for row in found]))
    elif len(found) == 1:
        width = max(map(len, proxies))
        for name, proxy in proxies.items():
            error = found[0].errors.get(name)
            spread = "" if error is None else f" ± {error:.2g}"
            better = "larger" if proxy.higher_is_better else "smaller"
            print(f"{name:{width}}  {found[0].scores[name]:.6g}{spread}  ({better} is better)")
    else:
        print("\t".join(["genotype", *proxies]))
        for row in found:
            print("\t".join([str(row.genotype), *(f"{x:.6g}" for x in row.scores.values())]))


def lookup(
    genotype: _Text, table: Path, trust_pickle: _Trust = False, as_json: _Json = False
) -> None:
    """Look a NAS-Bench-201 cell up in the table: test accuracy after 200 epochs of training.

    Args:
        genotype: a cell's text or six digits, a run folder, or a file of cells.
        table: a CSV with the columns code, c10_test200, c100_test200 and in16_test200, or the
            official benchmark's file, where nats_bench or nas_201_api is installed.
        trust_pickle: open the official benchmark's file. It is a pickle: if somebody has tampered
            with it, opening it runs their code with your rights. Say so only of a file that you
            have from the benchmark's authors. A CSV never needs this.
        as_json: print a list of objects with the keys genotype, code, cifar10, cifar100,
            imagenet16_120 and, where the table has them, index, parameters and iso_class; of an
            evaluated run also trained: dataset, accuracy and provenance.

    Of a run folder that was evaluated it also says what its own training reached, which is
    retrained and not looked up, and when that is above the table's best.
    """
    from workbench.genotype_files import read_genotypes
    from workbench.tables import DATASETS, TableError, read_table

    given = read_genotypes(genotype)
    opened = read_table(table, trust_pickle=trust_pickle)
    entries = []
    for one in given:
        try:
            entries.append(opened.lookup(one.genotype))
        except ValueError as error:
            raise TableError(f"{one.where}: {error}" if one.where else str(error)) from error
    own = _own_figure(genotype, opened)
    if as_json:
        extra = {"trained": own} if own else {}
        print(json.dumps([{**_entry_row(entry), **extra} for entry in entries]))
        return
    for entry in entries:
        print(f"{entry.genotype}  (code {entry.code})")
        for dataset in DATASETS:
            best = opened.ceiling(dataset)
            print(f"  {dataset:14}  {entry.accuracy(dataset):6.2f} %  of at most {best:.2f} %")
    if own:
        where = f"on {own['dataset']}: {own['provenance']}"
        print(f"  own training    {own['accuracy']:6.2f} %  {where}")


def _own_figure(path: str, table: Table) -> dict[str, object] | None:
    """What an evaluated run's network reached in percent, and whether the table can say so."""
    from workbench.comparison import trained_accuracy
    from workbench.tables import provenance
    from workbench.trace import open_run
    from workbench.trace.folder import HEADER

    if not (Path(path) / HEADER).is_file():
        return None
    own = trained_accuracy(open_run(path))
    if own is None:
        return None
    dataset, accuracy = own
    above = provenance(dataset, accuracy, table) == "retrained, not looked up"
    told = "retrained, not looked up" + ("; above the table's best" if above else "")
    return {"dataset": dataset, "accuracy": accuracy, "provenance": told}


def _score_row(row: Scored) -> dict[str, object]:
    out: dict[str, object] = {"genotype": str(row.genotype), "scores": _finite(row.scores)}
    return out | ({"errors": _finite(row.errors)} if row.errors else {})


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON knows no infinity."""
    return {name: x if math.isfinite(x) else None for name, x in values.items()}


def _entry_row(entry: Entry) -> dict[str, object]:
    known = {name: value for name, value in asdict(entry).items() if value is not None}
    return {"genotype": str(entry.genotype), **known}
