"""Hostile input of every kind, made by hypothesis: nothing but a `WorkbenchError` may come of it.

CI runs some cases of it (`tests/test_fuzz.py`); the long form is
`python -m tests.fuzz 10000 [SEED]`, cases in all, which prints a line for each kind of input.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from workbench import tables
from workbench.config import SearchConfig
from workbench.errors import WorkbenchError
from workbench.evaluate_config import EvaluateConfig
from workbench.genotype_files import read_genotypes
from workbench.notebook_parameters import from_parameters
from workbench.score_config import ScoreConfig
from workbench.settings import checked
from workbench.spaces.genotype import KNOWN_OPS, CellGenes, Gene, Genotype

MESSAGE = 4000  # characters that a refusal may have; it is one line of a terminal's screen


class Row(NamedTuple):
    """What came of one kind of input."""

    kind: str
    cases: int
    accepted: int
    refused: int
    seconds: float


# --- what is made -------------------------------------------------------------------------------

TEXT = st.text(max_size=40)
NASTY = st.sampled_from(
    ["", "\0", "~nobody-of-that-name/x", "../../x", "x" * 5000, "\ud800", "1" * 5000, "nan",
     "-inf", "1e999", "<script>alert(1)</script>", "١٢", "9" * 400, "1:2:3", "nan:1", "folder:",
     "folder:\0", "folder:~nobody-of-that-name", "cuda:-1", "a" * 300, "\n", "null",
     "{{7*7}}", "$(reboot)"]
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(-5, 20), st.floats(), st.sampled_from([10**30, -(10**30), 10**4000, 1e308, 2**63])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT, NASTY),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
CONFIGS = (SearchConfig, EvaluateConfig, ScoreConfig)
FIELDS = sorted({name for kind in CONFIGS for name in kind.model_fields})
ops = st.one_of(st.sampled_from([*KNOWN_OPS, "sep_conv_3x3_d2", "dil_conv_7x9"]), TEXT, NASTY)
integers = st.one_of(st.integers(-2, 9), st.sampled_from([1001, 10**9, 10**30, True]))


def _texts_around(form: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts of a form, also cut, doubled, or with something foreign in them."""

    @st.composite
    def damaged(draw: st.DrawFn) -> str:
        text = draw(form)
        at = draw(st.integers(0, len(text)))
        foreign = draw(st.one_of(TEXT, NASTY, st.sampled_from(_FOREIGN)))
        return draw(
            st.sampled_from([text[:at] + foreign + text[at:], text[:at], text + text, foreign])
        )

    return st.one_of(form, damaged())


_FOREIGN = [
    "(" * 300, "[" * 2000, "-" * 30_000, "{" * 3000, '{"a":' * 3000, "9" * 5000, "__import__('os')",
    "lambda: 0", "*[1]", "range(10**9)", "range(0, 10**9)", "f'{1}'", "1 if 1 else 2", "&a [*a]",
    "!!python/object/apply:os.system [true]", "!!timestamp x", "!!bool x", "!!int x", "%YAML 9",
    "x" * 200_000, "0x", "? [a]\n: b", "<<: 1", "\u2028", "|" * 3000, "+" * 3000, "~" * 3000,
    ".inf",
]  # fmt: skip


@st.composite
def _valid_cell(draw: st.DrawFn, kind: str) -> CellGenes:
    """A cell that can be: any inputs, nodes, genes in any number, and output."""
    inputs, nodes = draw(st.integers(1, 3)), draw(st.integers(0, 4))
    ends = st.integers(inputs, inputs + nodes - 1)
    known = st.sampled_from([*KNOWN_OPS, "sep_conv_3x3_d2"])
    gene = ends.flatmap(lambda dst: st.builds(Gene, known, st.integers(0, dst - 1), st.just(dst)))
    genes = draw(st.lists(gene, max_size=6)) if nodes else []
    concat = draw(st.lists(st.integers(0, inputs + nodes - 1), min_size=1, unique=True))
    return CellGenes(kind, inputs, nodes, tuple(genes), tuple(concat))


genotypes = (
    st.lists(st.sampled_from(["normal", "reduce", "cell", "cell_1", "a"]), min_size=1, unique=True)
    .flatmap(lambda kinds: st.tuples(*map(_valid_cell, kinds)))
    .map(Genotype)
)
_gene = st.one_of(
    st.builds(lambda op, src: f"({op!r}, {src})", ops, integers),
    st.builds(lambda op, dst, src: f"({op!r}, {dst}, {src})", ops, integers, integers),
)
_concat = st.one_of(
    st.builds(lambda a, b: f"range({a}, {b})", integers, integers),
    st.lists(integers, max_size=4).map(str),
)
_field = st.one_of(
    st.builds(
        lambda kind, genes: f"{kind}=[{', '.join(genes)}]",
        st.sampled_from(["normal", "reduce", "cell", "cell_1", "normal_nodes"]),
        st.lists(_gene, max_size=8),
    ),
    st.builds(lambda kind, c: f"{kind}_concat={c}", st.sampled_from(["normal", "cell"]), _concat),
    st.builds(lambda steps: f"normal_steps={steps}", integers),
)
darts_texts = st.one_of(
    st.lists(_field, max_size=4).map(lambda fields: f"Genotype({', '.join(fields)})"),
    genotypes.map(str),
)
_group = st.lists(
    st.builds(lambda op, src: f"{op}~{src}", ops, st.one_of(integers, TEXT)), max_size=4
).map(lambda parts: f"|{'|'.join(parts)}|")
arch_texts = st.one_of(
    st.lists(_group, max_size=4).map("+".join),
    st.lists(st.sampled_from(tables.OPS), min_size=6, max_size=6).map(
        lambda o: f"|{o[0]}~0|+|{o[1]}~0|{o[2]}~1|+|{o[3]}~0|{o[4]}~1|{o[5]}~2|"
    ),
)
_cell = st.fixed_dictionaries(
    {"inputs": st.one_of(integers, VALUES), "nodes": st.one_of(integers, VALUES)},
    optional={
        "genes": st.one_of(
            VALUES, st.lists(st.tuples(ops, integers, integers).map(list), max_size=4)
        ),
        "concat": st.one_of(VALUES, st.lists(integers, max_size=4)),
    },
)
_published = st.dictionaries(
    st.sampled_from(["normal", "normal_concat", "normal_nodes", "normal_steps", "reduce", "a b"]),
    st.one_of(VALUES, st.lists(st.tuples(ops, integers).map(list), max_size=4)),
    max_size=4,
)
_kinds = st.one_of(st.sampled_from(["normal", "../x", "<b>", "a\nb"]), TEXT)
json_texts = st.one_of(
    _published,
    st.dictionaries(_kinds, _cell, max_size=2).map(lambda cells: {"cells": cells}),
    VALUES.map(lambda value: {"cells": value}),
    VALUES,
    genotypes.map(lambda found: json.loads(found.to_json())),
    genotypes.map(lambda found: found.published()),
    st.builds(
        lambda found, at, new: _with(json.loads(found.to_json()), at, new),
        genotypes,
        st.integers(0, 60),
        st.one_of(VALUES, NASTY, integers),
    ),
).map(lambda value: _json(value))
yaml_texts = st.one_of(
    st.dictionaries(st.sampled_from(FIELDS), st.one_of(VALUES, NASTY), max_size=3).map(
        lambda value: _json(value)
    ),
    st.lists(
        st.builds(
            lambda name, value: f"{name}: {value}",
            st.sampled_from(FIELDS), st.one_of(TEXT, NASTY),
        ),
        max_size=4,
    ).map("\n".join),
)  # fmt: skip
_ACCURACIES = ("c10_test200", "c100_test200", "in16_test200")
_csv_cell = st.one_of(
    st.from_regex(r"[0-4]{6}", fullmatch=True), st.floats(-1, 120).map(str), TEXT, NASTY
)
_head = st.sampled_from(
    ["code,c10_test200,c100_test200,in16_test200,index", "genotype", "arch_str,code", "", "a,a,a"]
)
_percents = st.floats(0, 100).map(str)
_rows = st.lists(
    st.tuples(st.from_regex(r"[0-4]{6}", fullmatch=True), _percents, _percents, _percents),
    min_size=1, max_size=4, unique_by=lambda row: row[0],
).map(lambda rows: [list(row) for row in rows])  # fmt: skip
_valid_csv = st.builds(
    lambda rows: [["code", *_ACCURACIES], *rows],
    _rows,
)
csv_texts = st.one_of(
    st.lists(st.lists(_csv_cell, min_size=1, max_size=5), max_size=4).flatmap(
        lambda rows: _head.map(lambda head: [head.split(","), *rows])
    ),
    _valid_csv,
    st.builds(lambda *given: _with(*given), _valid_csv, st.integers(0, 20), _csv_cell),
).map(lambda rows: "\n".join(",".join(map(str, row)) for row in rows))
words = st.lists(
    st.one_of(
        st.builds(
            lambda name, value: [f"--{name.replace('_', '-')}", str(value)],
            st.sampled_from(FIELDS), st.one_of(NASTY, TEXT, st.integers(-5, 20), st.floats()),
        ),
        st.one_of(NASTY, TEXT).map(lambda text: [text]),
    ),
    min_size=1, max_size=3,
)  # fmt: skip


def _with(value: object, at: int, new: object) -> object:
    """`value` with its leaf of that number, counted round and round, replaced."""
    places: list[tuple[list | dict, object]] = []

    def look(inside: object) -> None:
        if isinstance(inside, (list, dict)):
            for key, part in inside.items() if isinstance(inside, dict) else enumerate(inside):
                places.append((inside, key))
                look(part)

    look(value)
    holder, key = places[at % len(places)]
    holder[key] = new  # pyright: ignore[reportArgumentType, reportCallIssue]
    return value


def _json(value: object) -> str:
    """JSON text, a whole number of any length included."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(value)
    finally:
        sys.set_int_max_str_digits(before)


# --- what reads it ------------------------------------------------------------------------------


def _config(values: dict[str, object]) -> None:
    for kind in CONFIGS:
        config = checked(kind, {n: v for n, v in values.items() if n in kind.model_fields})
        if isinstance(config, SearchConfig):
            config.build_method()
            config.build_probes()


def _words(groups: list[list[str]]) -> None:
    """The flags of a search as the command line reads them; exit code 2 is its refusal."""
    import contextlib
    import io

    from workbench.cli import _parse
    from workbench.task_commands import search

    flags = [word for group in groups for word in group]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            _parse(search, "workbench search", flags)
        except SystemExit as error:
            if error.code not in (0, 2):
                raise
    line = said.getvalue()
    if line.startswith("workbench:"):
        raise WorkbenchError(line.removesuffix("\n"))


def _genotype(text: str) -> None:
    found = Genotype.parse(text)
    again = Genotype.parse(str(found))
    if str(found).startswith("|"):  # this text tells genes in the order of edges
        (mine,), (theirs,) = found.cells, again.cells
        by_edge = sorted(mine.genes, key=lambda gene: (gene.dst, gene.src))
        assert replace(mine, genes=tuple(by_edge)) == theirs
    else:
        assert again == found
    assert Genotype.from_json(json.dumps(found.published())) == found
    assert Genotype.from_json(found.to_json()) == found


def _file(text: str, suffix: str, read: Callable[[str], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"given{suffix}"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        read(str(path))


KINDS: Mapping[str, tuple[st.SearchStrategy, Callable[..., object]]] = {
    "config values": (st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3), _config),
    "one config value": (
        st.builds(lambda name, value: {name: value}, st.sampled_from(FIELDS),
                  st.one_of(VALUES, NASTY, NUMBERS)),
        _config,
    ),
    "command line words": (words, _words),
    "YAML text": (_texts_around(yaml_texts), SearchConfig.from_text),
    "notebook parameters": (
        _texts_around(yaml_texts), lambda text: from_parameters(settings=text)
    ),
    "DARTS text": (_texts_around(darts_texts), _genotype),
    "arch string": (_texts_around(arch_texts), _genotype),
    "genotype JSON": (_texts_around(json_texts), _genotype),
    "text of a command": (_texts_around(st.one_of(TEXT, NASTY, darts_texts)), read_genotypes),
    "file of genotypes": (
        _texts_around(st.one_of(darts_texts, arch_texts, json_texts, csv_texts)),
        lambda text: _file(text, ".txt", read_genotypes),
    ),
    "CSV of genotypes": (
        _texts_around(csv_texts), lambda text: _file(text, ".csv", read_genotypes)
    ),
    "CSV table": (_texts_around(csv_texts), lambda text: _file(text, ".csv", tables.read_table)),
}  # fmt: skip


def run(cases: int, seed: int = 0) -> list[Row]:
    """Run `cases` cases in all, some of each kind; a row for each.

    Raises:
        Exception: the first that is no `WorkbenchError`, with the shortest input that gives it.
    """
    share = -(-cases // len(KINDS))
    return [_run_kind(kind, share, seed) for kind in KINDS]


def _run_kind(kind: str, cases: int, number: int) -> Row:
    strategy, read = KINDS[kind]
    counts = {"accepted": 0, "refused": 0}

    @seed(number)
    @settings(
        max_examples=cases, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def one(value: object) -> None:
        try:
            read(value)
        except WorkbenchError as error:
            line = str(error)
            assert "\n" not in line, f"more than one line: {line!r}"
            assert len(line) <= MESSAGE, f"{len(line)} characters: {line[:200]!r}"
            counts["refused"] += 1
        else:
            counts["accepted"] += 1

    began = time.perf_counter()
    one()
    return Row(kind, sum(counts.values()), *counts.values(), time.perf_counter() - began)


def main() -> None:
    """Print the table of the long form."""
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rows = run(cases, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    total = Row("all", *(sum(row[at] for row in rows) for at in (1, 2, 3, 4)))
    print("| input | cases | accepted | refused in a line | s |\n| --- | --- | --- | --- | --- |")
    for row in [*rows, total]:
        print(f"| {row.kind} | {row.cases} | {row.accepted} | {row.refused} | {row.seconds:.1f} |")


if __name__ == "__main__":
    main()
