"""The command line: what it prints, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import workbench
from workbench import methods
from workbench.cli import main
from workbench.config import SearchConfig
from workbench.search import search
from workbench.spaces.genotype import Genotype
from workbench.trace import open_run, record

V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))"
)
TINY = "--channels 2 --cells 1 --nodes 1 --epochs 1 --batch-size 512 --device cpu".split()


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(words)
    said = capsys.readouterr().err.strip()
    assert stop.value.code == 2
    assert len(said.splitlines()) == 1
    return said


def test_cost_prints_the_published_figures(capsys: pytest.CaptureFixture[str]) -> None:
    main(["cost", V2, "--channels", "36", "--cells", "20", "--classes", "10", "--json"])
    assert json.loads(capsys.readouterr().out) == {"parameters": 3349342, "macs": 528359040}
    main(["cost", V2, "--auxiliary", "--json"])
    assert json.loads(capsys.readouterr().out)["parameters"] == 3825768


def test_cost_counts_cells_per_stage_of_a_nasbench201_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|"
    main(["cost", text + "nor_conv_3x3~2|", "--channels", "16", "--cells", "5", "--json"])
    assert json.loads(capsys.readouterr().out) == {"parameters": 1288506, "macs": 184730240}


def test_cost_reads_a_genotype_from_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "genotype.txt"
    file.write_text(V2)
    main(["cost", str(file), "--json"])
    assert json.loads(capsys.readouterr().out)["parameters"] == 3349342


def test_a_file_that_is_no_genotype_is_not_read_to_its_end(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "large.txt"
    with file.open("wb") as stream:
        stream.truncate(1 << 40)
    assert "large.txt has more than 400,000 bytes" in refusal(capsys, "cost", str(file))
    file.write_bytes(b"\xff")
    assert "large.txt cannot be read: it is not UTF-8 text" in refusal(capsys, "cost", str(file))


def test_derive_follows_each_rule(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    k = np.arange(112).reshape(14, 8)
    file = tmp_path / "alphas.npz"
    np.savez(file, normal=np.sin(k), reduce=np.cos(k))
    main(["derive", str(file), "--space", "darts", "--rule", "top2", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["normal"] == [
        ["avg_pool_3x3", 0], ["dil_conv_3x3", 1], ["skip_connect", 1], ["sep_conv_3x3", 0],
        ["sep_conv_3x3", 1], ["avg_pool_3x3", 2], ["skip_connect", 1], ["sep_conv_3x3", 4],
    ]  # fmt: skip
    assert found["normal_concat"] == [2, 3, 4, 5]
    assert set(found) == {"normal", "normal_concat", "reduce", "reduce_concat"}
    main(["derive", str(file), "--rule", "survivors", "--json"])
    wins = sum(row.argmax() != 0 for row in np.sin(k))
    said = capsys.readouterr().out
    assert len(json.loads(said)["normal"]) == wins
    main(["derive", str(file), "--rule", "survivors"])
    assert Genotype.from_json(said) == Genotype.parse(capsys.readouterr().out)


def test_derive_reads_a_nasbench201_cell(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    alphas = np.full((6, 5), -np.inf)
    for edge, op in enumerate((3, 1, 0, 4, 2, 3)):
        alphas[edge, op] = 0.1 * edge
    np.savez(tmp_path / "alphas.npz", cell=alphas)
    words = ["derive", str(tmp_path / "alphas.npz"), "--space", "nasbench201", "--rule", "argmax"]
    main(words)
    text = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|"
    assert capsys.readouterr().out.strip() == text
    main([*words, "--json"])
    assert Genotype.from_json(capsys.readouterr().out) == Genotype.parse(text)


def test_derive_takes_an_edges_own_candidates_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    space = SearchConfig(space="s1").build_space()
    arrays = {cell.kind: np.ones((14, len(cell.columns))) for cell in space.cells}
    for cell in space.cells:  # the second candidate is best but for what is none
        for edge, ops in enumerate(cell.ops):
            arrays[cell.kind][edge, cell.columns.index(ops[1])] = 2 + edge / 100
            others = [column for column, op in enumerate(cell.columns) if op not in ops]
            arrays[cell.kind][edge, others] = 9.0
    np.savez(tmp_path / "alphas.npz", **arrays)
    main(["derive", str(tmp_path / "alphas.npz"), "--space", "s1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["normal"][:4] == [
        ["dil_conv_5x5", 1], ["dil_conv_3x3", 0], ["dil_conv_3x3", 2], ["sep_conv_3x3", 1],
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["darts", "darts_pt"])
def test_a_small_space_is_searched_by_its_name(tmp_path: Path, method: str) -> None:
    words = ["--space", "s3", "--out", str(tmp_path / "run"), "--epochs", "2"]
    main(["search", "--method", method, *TINY, *words])
    run = open_run(tmp_path / "run")
    assert run.named("space") == "s3"
    assert run.trace.op.values.tolist() == ["none", "skip_connect", "sep_conv_3x3"]


def test_settings_reach_the_stage_they_are_of() -> None:
    method = SearchConfig(method="darts_pt", epochs=13, batch_size=32, weight_lr=0.1).build_method()
    search, projection = method.stages
    assert (search.epochs, projection.epochs) == (5, 8)
    assert (search.batch_size, projection.batch_size) == (32, 32)
    assert (search.weight_optimizer.lr_at(0), projection.weight_optimizer.lr_at(0)) == (0.1, 0.0025)


def test_a_search_is_recorded_evaluated_and_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    main(["search", "--method", "darts", *TINY, "--out", str(out), "--seed", "3"])
    run = open_run(out)
    assert run.status == "finished"
    assert run.meta["seed"] == 3
    assert len(run.trace.step) == 1438 // 2 // 512
    capsys.readouterr()
    main(["evaluate", str(out), "--epochs", "1", "--channels", "2", "--cells", "1"])
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert 0 <= evaluation["test_accuracy"] <= 1
    assert np.sum(evaluation["confusion"]) == 359
    assert {"test_map", "parameters", "macs"} <= set(evaluation)
    said = refusal(capsys, "search", *TINY, "--out", str(out))
    assert str(out) in said


def test_settings_come_from_a_yaml_file_and_flags_win(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "method: darts\nchannels: 2\ncells: 1\nnodes: 1\nepochs: 1\nbatch_size: 256\nseed: 7\n"
    )
    words = ["--config", str(tmp_path / "config.yaml"), "--batch-size", "512"]
    main(["search", *words, "--device", "cpu", "--out", str(tmp_path / "run")])
    settings = open_run(tmp_path / "run").meta["config"]
    assert isinstance(settings, dict)
    assert (settings["seed"], settings["batch_size"], settings["method"]) == (7, 512, "darts")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("search --method dats", "did you mean 'darts'"),
        ("search --space drats", "did you mean 'darts'"),
        ("search --space s1 --nodes 5", "1 to 4 nodes"),
        ("derive /no/such.npz --space s9", "--space: there is no space 's9'"),
        ("search --epochs 0", "--epochs"),
        ("search --epochs many", "--epochs takes a whole number, not 'many'"),
        ("search --arch-lr inf", "--arch-lr"),
        ("search --entmax-order inf", "--entmax-order"),
        ("search --batch-size 1", "--batch-size"),
        ("search --seed -1", "--seed"),
        ("search --epoch 3", "--epochs"),
        ("search --data digit", "digits"),
        ("search --data folder:/no/such/folder", "--data: "),
        ("search --data cifar10 --data-root /no/such --no-download", "cifar-10-python.tar.gz"),
        ("search --batch-size 100000", "--batch-size 100000"),
        ("search --device tpu", "tpu"),
        ("search --device cuda:99", "cuda:99"),
        ("search --method darts --entmax-order 2", "--entmax-order"),
        ("search --method darts --beta1 2", "--beta1"),
        ("search --method single_level --weight-steps 2", "--weight-steps"),
        (
            "search --method zero_cost_multi_step --zero-cost-mode score --warm-up-epochs 2",
            "--warm-up-epochs",
        ),
        ("search --config /no/such.yaml", "/no/such.yaml"),
        ("evaluate /no/such/run", "/no/such/run"),
        ("report /no/such/run", "/no/such/run"),
        ("methods dart", "did you mean 'darts'"),
        ("cost nothing", "nothing"),
        ("cost |none~0| --cells 0", "--cells"),
        ("cost Genotype(normal=[('none',0)],normal_concat=[2,2])", "twice"),
        ("cost Genotype(reduce=[('none',0)],reduce_concat=[0,2])", "reduce"),
        ("cost Genotype(normal=[('none',0)]) --channels 1 --stem imagenet", "ImageNet"),
        ("demo --seed -1 --out /no/such", "--seed"),
        ("demo --epochs 0 --out /no/such", "--epochs"),
        ("demo --evaluation-epochs 0 --out /no/such", "--epochs"),
        ("derive /no/such.npz", "/no/such.npz"),
        ("serach", "did you mean 'search'"),
    ],
)
def test_wrong_input_gets_one_line_that_names_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: str, named: str
) -> None:
    out = tmp_path / "run"
    more = ["--out", str(out)] if words.startswith("search") else []
    assert named in refusal(capsys, *words.split(), *more)
    assert not out.exists()


def test_a_corrupt_picture_is_named_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(6):
            array = np.random.default_rng(index).integers(0, 255, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(array).save(tmp_path / "pictures" / name / f"{index}.png")
    (tmp_path / "pictures" / "dog" / "3.png").write_bytes(b"not a picture")
    words = ["--data", f"folder:{tmp_path / 'pictures'}", "--out", str(tmp_path / "run")]
    assert "3.png" in refusal(capsys, "search", *TINY, *words)
    assert not (tmp_path / "run").exists()


def test_methods_are_listed_and_shown_with_what_they_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["methods"])
    assert "entmax3_prune_single_level" in capsys.readouterr().out
    main(["methods", "entmax3_prune"])
    said = capsys.readouterr().out
    assert "relaxation: Softmax(temperature=1.0) → Entmax(alpha=3.0)" in said
    assert "schedule" not in said


def test_a_folder_that_cannot_be_made_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "/proc/no" in refusal(capsys, "search", *TINY, "--out", "/proc/no/such")


@pytest.mark.parametrize("kind", ["npy", "cut", "names"])
def test_arrays_that_cannot_be_read_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "alphas.npz"
    if kind == "npy":
        with file.open("wb") as stream:
            np.save(stream, np.zeros((14, 8)))
    elif kind == "names":
        np.savez(file, cell=np.zeros((14, 8)))
    else:
        np.savez(file, normal=np.zeros((14, 8)), reduce=np.zeros((14, 8)))
        file.write_bytes(file.read_bytes()[:200])
    assert "alphas.npz" in refusal(capsys, "derive", str(file))


def test_a_run_is_evaluated_from_any_folder_and_refused_whole(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat", "dog", "eel", "fox"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(6):
            array = np.random.default_rng(index).integers(0, 255, (9, 12), dtype=np.uint8)
            Image.fromarray(array).save(tmp_path / "pictures" / name / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    tiny = "--channels 2 --cells 1 --nodes 1 --epochs 1 --batch-size 4 --image-size 8".split()
    main(["search", "--data", "folder:pictures", *tiny, "--out", "run"])
    monkeypatch.chdir("/")
    run = str(tmp_path / "run")
    assert "--batch-size" in refusal(capsys, "evaluate", run)
    assert "29 pixels" in refusal(capsys, "evaluate", run, "--recipe", "cifar")
    assert not (tmp_path / "run" / "evaluation").exists()
    words = "--epochs 1 --channels 2 --cells 1 --batch-size 4".split()
    main(["evaluate", run, *words])
    assert "evaluation" in refusal(capsys, "evaluate", run, *words)
    assert "another recipe" in refusal(capsys, "evaluate", run, *words, "--lr", "1", "--seed", "1")
    assert "--seeds" in refusal(capsys, "evaluate", run, *words, "--seed", "1", "--seeds", "0")
    main(["evaluate", run, *words, "--seed", "1", "--seeds", "2"])
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == ["seed 1", "seed 2"]
    assert len(open_run(run).evaluations) == 3


def test_the_record_holds_the_command_that_makes_it_again(tmp_path: Path) -> None:
    out = tmp_path / "run"
    main(["search", "--method", "darts", *TINY, "--no-download", "--out", str(out)])
    command = str(open_run(out).meta["command"]).split()
    assert command[:4] == ["workbench", "search", "--method", "darts"]
    assert {"--no-download", "--batch-size", "512"} <= set(command)
    again = [word.replace(str(out), str(tmp_path / "again")) for word in command[1:]]
    main(again)
    first, second = (open_run(tmp_path / name) for name in ("run", "again"))
    assert np.array_equal(first.trace.alpha, second.trace.alpha, equal_nan=True)


def test_a_small_weight_rate_still_falls() -> None:
    rates = SearchConfig(method="darts", weight_lr=1e-4).build_method().stages[0].weight_optimizer
    assert rates.lr_at(0.0) == 1e-4
    assert rates.lr_at(0.99) < 1e-5


def test_scores_of_a_warm_up_follow_its_settings() -> None:
    config = SearchConfig(method="zero_cost_multi_step", zero_cost_mode="score", beta2=0.0)
    init = config.build_method().stages[0].init
    assert init.zen.beta2 == 0.0
    assert init.size == (8, 8)


def test_a_search_made_in_python_is_evaluated_on_the_pictures_it_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run, method = tmp_path / "run", methods.darts.but(epochs=1, steps_per_epoch=1)
    space = workbench.darts(channels=2, cells=1, nodes=1)
    for _ in record(search(method, space, workbench.load("digits")), run):
        pass
    words = "--epochs 1 --channels 2 --cells 1".split()
    assert "say which they are, as --data digits" in refusal(capsys, "evaluate", str(run), *words)
    other = tmp_path / "pictures"
    for name in ("a", "b"):
        (other / name).mkdir(parents=True)
        for index in range(6):
            array = np.random.default_rng(index).integers(0, 255, (9, 12), dtype=np.uint8)
            Image.fromarray(array).save(other / name / f"{index}.png")
    wrong = refusal(capsys, "evaluate", str(run), *words, "--data", f"folder:{other}")
    assert "was searched on other pictures (digits)" in wrong
    main(["evaluate", str(run), *words, "--data", "digits"])
    (evaluation,) = open_run(run).evaluations
    assert "--data digits" in evaluation["recipe"]["command"]
