"""NAS-Bench-201 by table, on a small file in the published layout."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from workbench.cli import main
from workbench.spaces.genotype import CellGenes, Gene, Genotype, GenotypeError
from workbench.tables import (
    CEILINGS,
    EDGES,
    OPS,
    CsvTable,
    TableError,
    code_of,
    genotype_of,
    provenance,
    read_table,
)

TEXT = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|none~2|"
HEAD = "index,code,c10_test200,c100_test200,in16_test200,params_c10,flops_c10_M,iso_class\n"
ROWS = (
    "0,421210,85.86,52.91,26.63,129306,15.6,0\n"
    "1,333131,94.37,73.51,47.31,802426,113.9,1\n"
    "2,100000,10.0,1.0,0.83,73306,7.8,2\n"
    "3,000000,10.0,1.5,0.83,73306,7.8,2\n"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(HEAD + ROWS)
    return path


def test_a_cell_is_looked_up_by_any_of_its_forms(file: Path) -> None:
    table = read_table(file)
    entry = table.lookup(Genotype.parse(TEXT))
    assert (entry.cifar10, entry.cifar100, entry.imagenet16_120) == (85.86, 52.91, 26.63)
    assert (entry.index, entry.parameters, entry.iso_class) == (0, 129306, 0)
    assert table.lookup(genotype_of("421210")) == entry
    assert str(entry.genotype) == TEXT
    assert entry.accuracy("cifar100") == 52.91


def test_digits_and_texts_are_the_same_cells() -> None:
    """Every operation on every edge, there and back."""
    assert code_of(Genotype.parse(TEXT)) == "421210"
    for place in range(6):
        for digit in range(5):
            code = "0" * place + str(digit) + "0" * (5 - place)
            genotype = genotype_of(code)
            assert code_of(genotype) == code
            assert code_of(Genotype.parse(str(genotype))) == code
            genes = genotype.cells[0].genes
            assert genes == ((Gene(OPS[digit], *EDGES[place]),) if digit else ())


def test_zeros_that_a_spreadsheet_dropped_are_put_back(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("code,c10_test200,c100_test200,in16_test200\n3,1,2,3\n")
    entry = read_table(path).lookup(genotype_of("000003"))
    assert (entry.code, entry.cifar10, entry.index) == ("000003", 1.0, None)


def test_cells_that_compute_the_same_keep_their_own_figures(file: Path) -> None:
    table = read_table(file)
    assert isinstance(table, CsvTable)
    skip, nothing = genotype_of("100000"), genotype_of("000000")
    assert table.lookup(skip).cifar100 == 1.0
    assert table.lookup(nothing).cifar100 == 1.5
    assert table.twins(skip) == [table.lookup(nothing)]
    assert table.twins(Genotype.parse(TEXT)) == []


def test_a_cell_that_is_not_there_is_refused(file: Path) -> None:
    with pytest.raises(TableError, match=r"no row for .*code 444444"):
        read_table(file).lookup(genotype_of("444444"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Genotype(normal=[('skip_connect', 0), ('skip_connect', 1)])", "only cells of NAS"),
        ("|skip_connect~0|+|skip_connect~0|skip_connect~1|", "three nodes"),
        ("|sep_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|", "sep_conv_3x3"),
    ],
)
def test_other_genotypes_have_no_code(text: str, said: str) -> None:
    with pytest.raises(GenotypeError, match=said):
        code_of(Genotype.parse(text))


def test_two_operations_on_an_edge_have_no_code() -> None:
    genes = (Gene("skip_connect", 0, 1), Gene("nor_conv_3x3", 0, 1))
    with pytest.raises(GenotypeError, match=r"cell:0→1 has two operations"):
        code_of(Genotype((CellGenes("cell", 1, 3, genes, (3,)),)))


@pytest.mark.parametrize("code", ["51111", "1111111", "abc", ""])
def test_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(GenotypeError, match="six digits"):
        genotype_of(code)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("code,c10_test200\n111111,90\n", "no column c100_test200, in16_test200"),
        (HEAD + "0,999999,1,1,1,1,1,1\n", "line 2: '999999' is no code"),
        (HEAD + ROWS + "4,111111,good,1,1,1,1,1\n", "line 6: c10_test200 is 'good'"),
        (HEAD + "0,111111,101,1,1,1,1,1\n", "line 2: c10_test200 must be a percentage"),
        (HEAD + "0,111111,nan,1,1,1,1,1\n", "percentage"),
        (HEAD + "0,111111,,1,1,1,1,1\n", "percentage, not None"),
        (HEAD + ROWS + ROWS, "421210 is twice"),
        (HEAD, "holds no row"),
    ],
)
def test_a_bad_table_is_refused_by_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(TableError, match=said):
        read_table(path)


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"no.csv cannot be read"):
        read_table(tmp_path / "no.csv")
    with pytest.raises(TableError, match=r"there is no table"):
        read_table(tmp_path / "no.pth")


def test_more_than_the_ceiling_was_not_looked_up(file: Path) -> None:
    """Paper B's 97.34 on CIFAR-10 is above the best of all 15,625 cells."""
    assert provenance("cifar10", 97.34) == "retrained, not looked up"
    assert provenance("cifar10", 94.37) == "may be looked up"
    assert provenance("cifar10", 94.3733) == "may be looked up"
    assert provenance("cifar10", 94.38) == "retrained, not looked up"
    assert provenance("cifar100", 73.52) == "retrained, not looked up"
    table = read_table(file)
    assert provenance("imagenet16_120", 47.31, table) == "may be looked up"
    assert provenance("imagenet16_120", 48, table) == "retrained, not looked up"
    assert {name: table.ceiling(name) for name in CEILINGS} == dict(CEILINGS)
    with pytest.raises(TableError, match="percentage"):
        provenance("cifar10", 973.4)


# --- the official benchmark -----------------------------------------------------------------------


class FakeApi:
    """As `nats_bench` and `nas_201_api` answer, for one cell."""

    asked: list[tuple[int, str, str, bool]]

    def __init__(self, *given: object, **settings: object) -> None:
        self.given, self.settings, self.asked = given, settings, []

    def query_index_by_arch(self, arch: str) -> int:
        return 7 if arch == TEXT else -1

    def get_more_info(
        self, index: int, dataset: str, iepoch=None, hp: str = "12", is_random: bool = True
    ) -> Mapping[str, float]:
        self.asked.append((index, dataset, hp, is_random))
        figure = {"cifar10": 85.0, "cifar100": 52.0, "ImageNet16-120": 26.0}[dataset]
        return {"test-accuracy": figure, "train-accuracy": 99.0}


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("nats_bench", "nas_201_api"):
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / "official.pth"
    path.write_bytes(b"")
    return path


def fake(monkeypatch: pytest.MonkeyPatch, name: str, **contents: object) -> None:
    module = ModuleType(name)
    for key, value in contents.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("name", ["nats_bench", "nas_201_api"])
def test_the_official_benchmark_answers_like_a_table(
    monkeypatch: pytest.MonkeyPatch, official: Path, name: str
) -> None:
    fake(monkeypatch, name, **{"create" if name == "nats_bench" else "NASBench201API": FakeApi})
    table = read_table(official, trust_pickle=True)
    entry = table.lookup(Genotype.parse(TEXT))
    assert (entry.code, entry.index) == ("421210", 7)
    assert (entry.cifar10, entry.cifar100, entry.imagenet16_120) == (85.0, 52.0, 26.0)
    assert table.ceiling("cifar10") == 94.37
    api = table.api  # pyright: ignore[reportAttributeAccessIssue]
    assert api.given[0] == str(official)
    assert {call[2:] for call in api.asked} == {("200", False)}, "mean of all seeds, 200 epochs"
    with pytest.raises(TableError, match="no record"):
        table.lookup(genotype_of("000000"))


def test_without_the_official_benchmark_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "nats_bench", None)
    monkeypatch.setitem(sys.modules, "nas_201_api", None)
    path = tmp_path / "official.pth"
    path.write_bytes(b"")
    with pytest.raises(TableError, match=r"neither is installed.*CSV"):
        read_table(path, trust_pickle=True)


def test_a_file_that_the_official_benchmark_cannot_read_is_named(
    monkeypatch: pytest.MonkeyPatch, official: Path
) -> None:
    def create(*given: object, **settings: object) -> None:
        raise KeyError("meta_archs")

    fake(monkeypatch, "nats_bench", create=create)
    with pytest.raises(TableError, match=r"official.pth is no file .*meta_archs"):
        read_table(official, trust_pickle=True)


def test_the_official_file_is_not_opened_unless_it_is_said_to_be_trusted(
    monkeypatch: pytest.MonkeyPatch, official: Path
) -> None:
    opened: list[object] = []
    fake(monkeypatch, "nats_bench", create=lambda *given, **_: opened.append(given))
    fake(monkeypatch, "nas_201_api", NASBench201API=lambda *given, **_: opened.append(given))
    for path in (official, official.parent):  # a file, and a folder as nats_bench has it
        with pytest.raises(TableError, match=r"are pickles.* --trust-pickle") as caught:
            read_table(path)
        assert "\n" not in str(caught.value)
    assert not opened


def test_the_command_line_opens_a_pickle_only_with_its_flag(
    monkeypatch: pytest.MonkeyPatch, official: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(monkeypatch, "nats_bench", create=FakeApi)
    given = ["lookup", TEXT, "--table", str(official)]
    with pytest.raises(SystemExit) as caught:
        main(given)
    refused = capsys.readouterr()
    assert caught.value.code == 2
    assert refused.err.startswith("workbench: ")
    assert refused.err.count("\n") == 1
    assert "--trust-pickle" in refused.err
    assert not refused.out
    main([*given, "--trust-pickle"])
    assert "85.00 %" in capsys.readouterr().out
