"""`workbench score` and `workbench lookup`: what they print, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes import fake_run
from workbench.cli import main
from workbench.genotype_files import read_genotypes
from workbench.spaces.genotype import Genotype, GenotypeError
from workbench.tables import code_of, genotype_of
from workbench.zero_cost import proxies

CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
SMALL = "--channels 2 --cells 1 --batch-size 4 --device cpu".split()
TABLE = (
    "index,code,c10_test200,c100_test200,in16_test200,params_c10,iso_class\n"
    "0,421211,85.86,52.91,26.63,129306,0\n"
    "1,334131,93.66,70.29,44.03,802426,1\n"
)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(words)
    said = capsys.readouterr().err.strip()
    assert stop.value.code == 2
    assert len(said.splitlines()) == 1
    return said


def scored(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict]:
    main(["score", *words, *SMALL, "--json"])
    return json.loads(capsys.readouterr().out)


def test_every_score_of_a_genotype_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = scored(capsys, CELL, "--proxy", "all")
    assert found["genotype"] == CELL
    assert list(found["scores"]) == list(proxies.named())
    assert all(isinstance(value, float) for value in found["scores"].values())
    assert "errors" not in found


def test_the_seed_decides_the_scores(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["--proxy", "naswot,zen,snip,zen_nas"]
    first = scored(capsys, CELL, *names)
    assert scored(capsys, CELL, *names, "--seed", "0") == first
    other = scored(capsys, CELL, *names, "--seed", "1")
    assert all(other[0]["scores"][name] != x for name, x in first[0]["scores"].items())


def test_repeats_are_averaged_with_their_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (once,) = scored(capsys, CELL, "--proxy", "snip,parameters")
    (often,) = scored(capsys, CELL, "--proxy", "snip,parameters", "--repeats", "3")
    assert often["errors"]["snip"] > 0
    assert often["errors"]["parameters"] == 0
    assert often["scores"]["parameters"] == once["scores"]["parameters"]
    assert often["scores"]["snip"] != once["scores"]["snip"]
    main(["score", CELL, "--proxy", "snip", "--repeats", "2", *SMALL])
    assert "±" in capsys.readouterr().out


def test_a_darts_genotype_is_scored_too(capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=range(2, 3), "
        "reduce=[('max_pool_3x3', 0), ('skip_connect', 1)], reduce_concat=range(2, 3))"
    )
    (found,) = scored(capsys, text, "--proxy", "zen_nas,synflow")
    assert found["scores"]["synflow"] > 0


def test_noise_alone_has_the_shape_of_cifar(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--proxy", "naswot,macs", "--data", "gaussian"]
    (large,) = scored(capsys, CELL, *words)
    (small,) = scored(capsys, CELL, *words, "--image-size", "16")
    head, stem = 8 * 10, 3 * 2 * 9
    gain = large["scores"]["macs"] - head, small["scores"]["macs"] - head
    assert gain[0] == 4 * gain[1] > stem * 1024


def test_a_file_of_genotypes_is_a_table_with_a_row_each(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "cells.txt"
    file.write_text(f"# two cells\n{CELL}\n\n333333\n")
    main(["score", str(file), "--proxy", "parameters,bn", *SMALL])
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split("\t") == ["genotype", "parameters", "bn"]
    assert first.split("\t")[0] == CELL
    assert second.split("\t")[0] == str(genotype_of("333333"))


@pytest.mark.parametrize("column", ["genotype", "arch", "arch_str", "code"])
def test_rows_of_a_csv_are_read_from_the_column_that_is_there(tmp_path: Path, column: str) -> None:
    file = tmp_path / "cells.csv"
    code = "321104"
    text = code if column == "code" else str(genotype_of(code))
    file.write_text(f"index,{column},accuracy\n0,{text},93\n1,000000,10\n")
    if column != "code":
        file.write_text(f"index,{column},accuracy\n0,{text},93\n")
    found = read_genotypes(str(file))
    assert found[0].genotype == genotype_of(code)
    assert found[0].where.endswith("cells.csv, line 2")
    assert len(found) == (2 if column == "code" else 1)


def test_one_genotype_over_several_lines_is_one(tmp_path: Path) -> None:
    genotype = Genotype.parse(CELL)
    file = tmp_path / "one.json"
    file.write_text(genotype.to_json())
    assert [one.genotype for one in read_genotypes(str(file))] == [genotype]
    file = tmp_path / "one.txt"
    file.write_text("Genotype(\n  normal=[('skip_connect', 0),\n ('skip_connect', 1)],\n)\n")
    assert len(read_genotypes(str(file))) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"{CELL}\n|conv~0|\n", "cells.txt, line 2"),
        ("# nothing\n", "holds no genotype"),
        (f"{CELL}\nnonsense\n", "line 2"),
    ],
)
def test_a_bad_line_of_a_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "cells.txt"
    file.write_text(content)
    with pytest.raises(GenotypeError, match=said):
        read_genotypes(str(file))


def test_a_genotype_that_no_network_can_be_built_of_is_named_by_its_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "cells.txt"
    bad = "Genotype(normal=[('skip_connect', 0)], normal_concat=[2])"  # no reduction cell
    file.write_text(f"{CELL}\n{bad}\n")
    said = refusal(capsys, "score", str(file), "--proxy", "bn", "--cells", "3", "--channels", "2")
    assert "cells.txt, line 2" in said


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--proxy naswo", "did you mean 'naswot'"),
        ("--proxy snip,zen --data gaussian", "--data: snip read labels"),
        ("--proxy zen --data digit", "digits"),
        ("--proxy zen --batch-size 1", "--batch-size"),
        ("--proxy zen --repeats 0", "--repeats"),
        ("--proxy zen --batch-size 100000", "--batch-size 100000"),
        ("--proxy zen --image-size 16", "--data: "),
        ("--proxy zen --device tpu", "tpu"),
        ("--proxies zen", "--prox"),
    ],
)
def test_wrong_flags_get_one_line(
    capsys: pytest.CaptureFixture[str], words: str, named: str
) -> None:
    assert named in refusal(capsys, "score", CELL, *words.split())


def test_what_is_no_genotype_gets_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "/no/such" in refusal(capsys, "score", "/no/such")
    assert "no run folder" in refusal(capsys, "score", str(tmp_path))
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    assert "genotype, arch, arch_str, code" in refusal(capsys, "score", str(tmp_path / "x.csv"))


# --- lookup ---------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> str:
    (tmp_path / "table.csv").write_text(TABLE)
    return str(tmp_path / "table.csv")


def test_a_cell_is_looked_up(capsys: pytest.CaptureFixture[str], table: str) -> None:
    main(["lookup", str(genotype_of("334131")), "--table", table, "--json"])
    assert json.loads(capsys.readouterr().out) == [
        {
            "genotype": str(genotype_of("334131")),
            "code": "334131",
            "cifar10": 93.66,
            "cifar100": 70.29,
            "imagenet16_120": 44.03,
            "index": 1,
            "parameters": 802426,
            "iso_class": 1,
        }
    ]
    main(["lookup", "421211", "--table", table])
    said = capsys.readouterr().out
    assert "85.86 %  of at most 93.66 %" in said


def test_a_run_is_looked_up_by_what_it_derived(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    every = "code,c10_test200,c100_test200,in16_test200\n" + "".join(
        f"{a}{b}{c}{d}{e}{f},{50 + a},1,1\n"
        for a in range(5) for b in range(5) for c in range(5)
        for d in range(5) for e in range(5) for f in range(5)
    )  # fmt: skip
    (tmp_path / "every.csv").write_text(every)
    tiny = "--channels 2 --cells 1 --epochs 1 --batch-size 512 --device cpu".split()
    run = str(tmp_path / "run")
    words = ["--method", "darts", "--space", "nasbench201", "--engine", "readable"]
    main(["search", *words, *tiny, "--out", run])
    genotype = capsys.readouterr().out.splitlines()[0]
    main(["lookup", run, "--table", str(tmp_path / "every.csv"), "--json"])
    assert json.loads(capsys.readouterr().out)[0]["genotype"] == genotype


def test_a_run_that_beats_the_table_is_told_to_be_retrained(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = fake_run(tmp_path / "run", kinds=("cell",), nodes=3, meta={"data": {"name": "cifar10"}})
    assert run.genotype is not None
    code = code_of(run.genotype)
    head = "code,c10_test200,c100_test200,in16_test200\n"
    (tmp_path / "low.csv").write_text(f"{head}{code},50.0,1,1\n")
    main(["lookup", str(run.path), "--table", str(tmp_path / "low.csv")])
    told = "89.89 %  on cifar10: retrained, not looked up; above the table's best"
    assert told in capsys.readouterr().out
    (tmp_path / "high.csv").write_text(f"{head}{code},95.0,1,1\n")
    main(["lookup", str(run.path), "--table", str(tmp_path / "high.csv"), "--json"])
    own = json.loads(capsys.readouterr().out)[0]["trained"]
    assert own["dataset"] == "cifar10"
    assert own["provenance"] == "retrained, not looked up"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("444444 --table {table}", "no row"),
        ("421211 --table /no/such.csv", "/no/such.csv"),
        ("421211", "table"),
        ("nothing --table {table}", "nothing"),
        ("Genotype(normal=[('skip_connect',0)]) --table {table}", "only cells of NAS-Bench-201"),
    ],
)
def test_a_look_up_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], table: str, words: str, named: str
) -> None:
    assert named in refusal(capsys, "lookup", *words.format(table=table).split(" "))


def test_a_row_that_is_not_in_the_table_is_named_by_its_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, table: str
) -> None:
    (tmp_path / "cells.txt").write_text("421211\n000000\n")
    said = refusal(capsys, "lookup", str(tmp_path / "cells.txt"), "--table", table)
    assert "cells.txt, line 2" in said
