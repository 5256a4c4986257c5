"""Which training-free score ranks cells of NAS-Bench-201 as the table does?

    python benchmarks/nb201_scores.py --table CSV [--n 200] [--seed 0] [--repeats 1] [--out FILE]

Rows of the table are drawn at random, without repetition and whatever their isomorphism class.
Each cell becomes a small network, and each score sees what its paper feeds it: digits (1×8×8) where
that is pictures of the data, noise of CIFAR's shape (3×32×32) where it is Gaussian.  Linear regions
are counted on a network of one channel, since wider ones have a region per sample.

Prints a Markdown table of Spearman's rho and Kendall's tau with the tabled test accuracy and their
95 % bootstrap intervals over cells; a score of which less is better is turned round first.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr
from tqdm import tqdm

from workbench import load
from workbench.data import Augment, Loader
from workbench.protocols import Batch, Proxy
from workbench.scoring import network_scores
from workbench.spaces.genotype import Genotype
from workbench.tables import DATASETS, CsvTable, Entry, read_table
from workbench.zero_cost import proxies

Rows = dict[str, np.ndarray]  # a column of numbers, one per cell, by name
MEASURES: Mapping[str, Callable[..., float]] = {
    "rho": lambda a, b: spearmanr(a, b).statistic,
    "tau": lambda a, b: kendalltau(a, b).statistic,
}


def sample(table: CsvTable, count: int, seed: int) -> list[Entry]:
    """`count` random rows."""
    entries = list(table.entries.values())
    if not 3 <= count <= len(entries):
        raise SystemExit(f"--n must be 3 to {len(entries)}, the rows of the table")
    picks = np.random.default_rng(seed).choice(len(entries), count, replace=False)
    return [entries[pick] for pick in picks]


def batches(options: argparse.Namespace, seed: int) -> dict[str, Batch]:
    """Digits and noise, both as large as asked for."""
    digits = Loader(
        load("digits"), None, batch_size=options.batch, seed=seed,
        device=torch.device("cpu"), augment=Augment(),
    ).next()  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(options.noise_batch, 3, 32, 32, generator=generator)
    return {"data": digits, "gaussian": Batch(noise, torch.zeros(len(noise)).long())}


def scores(
    genotype: Genotype, given: Mapping[str, Batch], options: argparse.Namespace, seed: int
) -> Rows:
    """Every score of a cell and the seconds it took, at weights of `seed`."""
    out = {}
    for name, proxy in proxies.named().items():
        batch = given[proxy.pictures]
        began = time.process_time()
        found = network_scores(
            genotype,
            {name: proxy},
            {"data": batch, "gaussian": batch},
            channels=1 if name == "linear_regions" else options.channels,
            cells=options.cells,
            classes=10,
            seed=seed,
        )
        out[name] = np.array([found[name], time.process_time() - began])
    return out


def measured(options: argparse.Namespace, entries: Sequence[Entry]) -> tuple[Rows, Rows]:
    """Scores and seconds of every cell: means over repeats."""
    rounds = [(seed, batches(options, seed)) for seed in range(options.repeats)]
    values: dict[str, list[np.ndarray]] = {name: [] for name in proxies.named()}
    for entry in tqdm(entries, unit="cell", mininterval=10):
        found = [scores(entry.genotype, given, options, seed) for seed, given in rounds]
        for name, column in values.items():
            column.append(np.mean([row[name] for row in found], axis=0))
    both = {name: np.array(column).T for name, column in values.items()}
    return {name: x[0] for name, x in both.items()}, {name: x[1] for name, x in both.items()}


def agreement(
    score: np.ndarray, accuracy: np.ndarray, resamples: int, seed: int
) -> dict[str, tuple[float, float, float]]:
    """Each measure with its interval; NaN for a score that is the same for all cells."""
    if np.ptp(score) == 0 or np.ptp(accuracy) == 0:
        return dict.fromkeys(MEASURES, (math.nan,) * 3)
    picks = np.random.default_rng(seed).integers(len(score), size=(resamples, len(score)))
    out = {}
    for name, measure in MEASURES.items():
        telling = [p for p in picks if np.ptp(score[p]) > 0 and np.ptp(accuracy[p]) > 0]
        drawn = [measure(score[p], accuracy[p]) for p in telling]
        low, high = np.percentile(drawn, [2.5, 97.5])
        out[name] = (float(measure(score, accuracy)), float(low), float(high))
    return out


def correlations(
    values: Rows, entries: Sequence[Entry], options: argparse.Namespace
) -> list[dict[str, object]]:
    """A row per score and data set."""
    rows: list[dict[str, object]] = []
    for name, proxy in proxies.named().items():
        sign = 1 if proxy.higher_is_better else -1
        for dataset in DATASETS:
            accuracy = np.array([entry.accuracy(dataset) for entry in entries])
            found = agreement(sign * values[name], accuracy, options.resamples, options.seed)
            row: dict[str, object] = {"score": name, "dataset": dataset}
            for measure, (value, low, high) in found.items():
                row |= {measure: value, f"{measure}_low": low, f"{measure}_high": high}
            rows.append(row)
    return rows


def markdown(rows: Sequence[Mapping[str, object]], seconds: Rows) -> str:
    """The table, best on CIFAR-10 first."""

    def cell(row: Mapping[str, object], measure: str) -> str:
        value, low, high = (float(str(row[measure + end])) for end in ("", "_low", "_high"))
        return "–" if math.isnan(value) else f"{value:.2f} [{low:.2f}, {high:.2f}]"

    by_name: dict[str, dict[str, Mapping[str, object]]] = {}
    for row in rows:
        by_name.setdefault(str(row["score"]), {})[str(row["dataset"])] = row

    def rank(name: str) -> float:
        value = float(str(by_name[name]["cifar10"]["rho"]))
        return -2.0 if math.isnan(value) else value

    head = ["score", "pictures", *(f"{m} {d}" for m in MEASURES for d in DATASETS), "s per cell"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name in sorted(by_name, key=rank, reverse=True):
        proxy: Proxy = proxies.named()[name]
        fed = {"data": "digits", "gaussian": "noise"}[proxy.pictures]
        cells = [cell(by_name[name][d], m) for m in MEASURES for d in DATASETS]
        lines.append(f"| {' | '.join([f'`{name}`', fed, *cells, f'{seconds[name].mean():.3f}'])} |")
    return "\n".join(lines)


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """A CSV of `rows`."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        out = csv.DictWriter(stream, list(rows[0]))
        out.writeheader()
        out.writerows(rows)


def main() -> None:
    """Score, compare and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="CSV of NAS-Bench-201")
    parser.add_argument("--n", type=int, default=200, help="cells")
    parser.add_argument("--seed", type=int, default=0, help="of the cells and the bootstrap")
    parser.add_argument("--repeats", type=int, default=1, help="new weights and pictures each")
    parser.add_argument("--channels", type=int, default=8, help="of the first stage")
    parser.add_argument("--cells", type=int, default=3, help="per stage")
    parser.add_argument("--batch", type=int, default=32, help="digits of a score")
    parser.add_argument("--noise-batch", type=int, default=16, help="noise pictures of a score")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap")
    parser.add_argument("--out", type=Path, help="CSV of scores; beside it FILE.correlations.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = read_table(options.table)
    if not isinstance(table, CsvTable):
        raise SystemExit("--table must be a CSV")
    entries = sample(table, options.n, options.seed)
    values, seconds = measured(options, entries)
    rows = correlations(values, entries, options)
    if options.out:
        write(options.out, [
            {"code": e.code, **{d: e.accuracy(d) for d in DATASETS}}
            | {name: column[i] for name, column in values.items()}
            for i, e in enumerate(entries)
        ])  # fmt: skip
        write(options.out.with_suffix(".correlations.csv"), rows)
    print(markdown(rows, seconds))


if __name__ == "__main__":
    main()
