"""Tables, curves and agreement of fake searches whose accuracies are known."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from tests.comparison.conftest import METHODS, evaluate, stage
from tests.fakes import fake_evaluation, fake_events, fake_run
from workbench import analysis, comparison, plots
from workbench.comparison.labels import SAME, groups_of
from workbench.comparison.recorded import LAYOUT, telling
from workbench.comparison.runs import runs_frame
from workbench.config import MACHINE_SETTINGS, SearchConfig
from workbench.events import EpochEnded, Stepped
from workbench.trace import Run, find_runs, open_run, record, record_evaluation


def test_a_search_is_as_good_as_the_mean_of_its_retrainings(fakes):
    frame = comparison.runs_frame(fakes).set_index("run")
    assert frame.loc["darts-1", "test_accuracy"] == pytest.approx(0.96)
    assert list(frame["retrainings"]) == [2, 3, 1, 0]
    assert math.isnan(frame.loc["entmax-1", "test_accuracy"])
    methods = comparison.methods_frame(fakes).set_index("method")
    darts = methods.loc["darts"]
    assert darts["test_accuracy"] == pytest.approx((0.91 + 0.96) / 2)
    assert darts["accuracy_search_sd"] == pytest.approx(0.05 / math.sqrt(2))
    assert darts["accuracy_retraining_sd"] == pytest.approx(math.sqrt(0.0010 / 3))
    assert (darts["searches"], darts["retrainings"]) == (2, 5)
    assert math.isnan(methods.loc["entmax", "accuracy_retraining_sd"])
    assert "93.50 ± 3.54" in comparison.markdown(comparison.honest_table(fakes))


def test_table_one_has_spaces_and_data_across(fakes, tmp_path: Path):
    meta = {"method": METHODS["darts"], "data": "cifar10"}
    other = fake_run(tmp_path / "other", meta=meta, kinds=("cell",), nodes=3)
    table = comparison.table_one([*fakes, other]).set_index(("", "", "method"))
    accuracy = table["darts", "digits", "test accuracy (%)"]
    assert list(accuracy) == ["93.50 ± 3.54", "97.00"]
    assert list(table["darts", "digits", "retraining sd (%)"]) == ["1.83", "–"]
    assert list(table["darts", "digits", "retrainings"]) == ["5", "1"]
    assert list(table["nasbench201", "cifar10", "test accuracy (%)"]) == ["89.89", "–"]
    costs = list(table["darts", "digits", "search cost"])
    assert [cost.split()[-2:] for cost in costs] == [["s", "cpu"], ["s", "cuda"]]
    assert table["nasbench201", "cifar10", "search cost"].iloc[0].endswith("unknown device")
    only = comparison.table_one(fakes, quantities=["test accuracy (%)"])
    assert only.shape == (2, 2)
    with pytest.raises(ValueError, match="no quantity 'speed'"):
        comparison.table_one(fakes, quantities=["speed"])
    assert "Runs of darts differ in threads." in comparison.table_note(fakes)


def test_hours_of_two_devices_are_told_apart(fakes, tmp_path: Path):
    meta = {"method": METHODS["darts"], "machine": {"device": "cuda:1"}}
    run = fake_run(tmp_path / "gpu", meta=meta)
    cost = comparison.table_one([fakes[0], run])["darts", "digits", "search cost"]
    cpu, gpu = cost.iloc[0].split(", ")
    assert cpu.endswith("s cpu")  # under a hundredth of an hour
    assert gpu.endswith("s cuda:1")


def test_long_searches_and_large_networks_are_no_powers_of_ten(fakes, monkeypatch):
    def frame(runs):
        return runs_frame(runs).assign(seconds=120 * 3600.0, macs=1234e6)

    module = import_module("workbench.comparison.table_one")  # the name is the function's too
    monkeypatch.setattr(module, "runs_frame", frame)
    table = comparison.table_one(fakes)["darts", "digits"]
    assert table["MACs (M)"].tolist() == ["1,234", "1,234"]
    assert [cost[:6] for cost in table["search cost"]] == ["120 h ", "120 h "]


def test_latex_is_escaped_and_spans_its_headings(fakes, tmp_path: Path):
    text = comparison.to_latex(comparison.table_one(fakes), note="a_b & 5 %")
    assert r"\multicolumn{7}{c}{digits}" in text
    assert r"\cmidrule(lr){2-8}" in text
    assert r"93.50 $\pm$ 3.54" in text
    assert r"test accuracy (\%)" in text
    assert text.endswith("a\\_b \\& 5 \\%\n")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [line.count("&") - line.count(r"\&") for line in rows] == [1, 1, 7, 7, 7]


def test_a_heading_of_latex_ends_with_the_one_above_it(fakes, tmp_path: Path):
    other = fake_run(tmp_path / "other", meta={"method": METHODS["darts"]}, kinds=("cell",))
    text = comparison.to_latex(comparison.table_one([*fakes, other]))
    spaces, space_rules, data, data_rules = text.splitlines()[2:6]
    seven = r"\multicolumn{7}{c}"
    assert spaces == rf" & {seven}{{darts}} & {seven}{{nasbench201}} \\"
    assert data == rf" & {seven}{{digits}} & {seven}{{digits}} \\"
    assert space_rules == data_rules == r"\cmidrule(lr){2-8} \cmidrule(lr){9-15}"
    only = comparison.table_one([*fakes, other], quantities=["test accuracy (%)"])
    assert r" & digits & digits \\" in comparison.to_latex(only).splitlines()


def test_methods_differ_in_the_parts_they_recorded(fakes):
    frame = comparison.method_differences(fakes)
    rows = frame.loc[:, ["field", "before", "after"]].to_numpy().tolist()
    assert set(frame["method"]) == {"entmax"}
    assert rows == [
        ["stage warm, beside the last one", "(none)", "epochs=1, relaxation=Softmax()"],
        ["search.relaxation", "Softmax()", "Entmax(3)"],
        ["derivation", "TopEdges(2)", "EdgeArgmax()"],
    ]
    back = comparison.method_differences(fakes, base="entmax")
    assert set(back["method"]) == {"darts"}
    assert back["before"].tolist()[1:] == ["Entmax(3)", "EdgeArgmax()"]
    with pytest.raises(ValueError, match="no run of 'gdas'"):
        comparison.method_differences(fakes, base="gdas")


@pytest.mark.parametrize("what", ["none_share", "skip_share", "alive_share", "entropy", "margin"])
def test_a_measure_per_epoch_is_the_trace_s_at_its_ends(fakes, what):
    run: Run = fakes[2]
    ends = [4, 9, 14]  # five steps an epoch
    shares = analysis.dominance(run, by="all").set_index(["op", "step"])["share"]
    want = {
        "none_share": lambda: shares["none"].to_numpy()[ends],
        "skip_share": lambda: shares["skip_connect"].to_numpy()[ends],
        "alive_share": lambda: analysis.alive_share(run).to_numpy()[ends],
        "entropy": lambda: analysis.entropy(run).mean("edge").to_numpy()[ends],
        "margin": lambda: analysis.margins(run).mean("edge").to_numpy()[ends],
    }[what]()
    assert np.allclose(comparison.per_epoch(run, what), want)
    frame = comparison.curves_frame(fakes, what)
    assert list(frame["runs"]) == [2] * 6


def test_runs_of_other_lengths_meet_at_equal_progress(tmp_path: Path):
    for epochs in (2, 4):
        fake_run(tmp_path / str(epochs), epochs=epochs, seed=epochs)
    runs = find_runs([tmp_path])
    frame = comparison.curves_frame(runs, "loss_train").set_index("progress")
    assert list(frame.index) == [0.25, 0.5, 0.75, 1.0]
    assert list(frame["runs"]) == [1, 2, 2, 2]
    short, long = (run.epochs["loss_train"].to_numpy() for run in runs)
    assert frame.loc[0.75, "mean"] == pytest.approx((short.mean() + long[2]) / 2)


def test_an_unfinished_search_comes_as_far_as_it_came(tmp_path: Path):
    for name, epochs in (("stopped", 4), ("whole", 4)):
        meta = {"method": METHODS["darts"]}
        pipe = record(fake_events(epochs=epochs, steps_per_epoch=5), tmp_path / name, meta=meta)
        for event in pipe:
            if name == "stopped" and isinstance(event, Stepped) and event.clock.step == 12:
                pipe.close()
    runs = find_runs([tmp_path])
    assert [len(run.epochs) for run in runs] == [2, 4]
    for what in ("loss_train", "skip_share"):
        frame = comparison.curves_frame(runs, what).set_index("progress")
        assert list(frame.index) == [0.25, 0.5, 0.75, 1.0]
        assert list(frame["runs"]) == [2, 2, 1, 1]
        single = comparison.single_curves_frame(runs, what)
        assert single.groupby("run")["progress"].max().tolist() == [0.5, 1.0]


def test_chance_agrees_less_than_seeds_that_found_the_same(fakes, tmp_path: Path):
    for name in ("a", "b"):
        fake_run(tmp_path / name, seed=3, nodes=3)
    row = comparison.agreement_frame(find_runs([tmp_path])).iloc[0]
    assert row["same_genes"] == 1
    assert 0 < row["chance_genes"] < row["chance_edges"] < 1
    assert row["chance_genes"] <= row["chance_genes_high"] < 0.5
    again = comparison.agreement_frame(find_runs([tmp_path])).iloc[0]
    assert again["chance_genes"] == row["chance_genes"]
    alone = comparison.agreement_frame(fakes[:1]).iloc[0]
    assert math.isnan(alone["chance_genes"])


def test_seeds_of_other_sizes_of_a_space_are_not_compared(tmp_path: Path):
    a = fake_run(tmp_path / "a", nodes=2, seed=3)
    other = fake_run(tmp_path / "other", nodes=3, seed=1)
    assert comparison.labels([a, other]) == ["fake · nodes 2", "fake · nodes 3"]
    assert a.genotype is not None
    assert other.genotype is not None
    assert all(map(math.isnan, comparison.agreement([a.genotype, other.genotype]).values()))
    frame = comparison.agreement_frame([a, other])
    assert frame["genotypes"].tolist() == [1, 1]
    assert frame.iloc[:, 2:].isna().all(axis=None)
    assert math.isnan(comparison.methods_frame([a, other])["same_genes"].iloc[0])
    again = fake_run(tmp_path / "again", nodes=2, seed=3)
    row = comparison.agreement_frame([a, other, again]).iloc[0]
    assert (row["same_genes"], row["same_edges"]) == (1, 1)  # of the one pair alike in size
    assert 0 < row["chance_genes"] < row["chance_edges"] < 1
    assert comparison.pairs_frame([a, other, again])["same_genes"].isna().sum() == 4


def test_random_genotypes_have_the_inputs_and_candidates_of_the_space(fakes):
    run: Run = fakes[0]
    random = np.random.default_rng(0)
    assert run.genotype is not None
    ops = set()
    for _ in range(200):
        drawn = comparison.random_genotype(run.genotype, run.space, random)
        for cell, like in zip(drawn.cells, run.genotype.cells, strict=True):
            assert cell.in_degrees == like.in_degrees
            assert len({gene[1:] for gene in cell.genes}) == len(cell.genes)
            ops |= {gene.op for gene in cell.genes}
    assert ops == set(run.initial["op"].values.tolist()) - {"none"}


def test_the_figures_hold_every_method_once_in_their_legend(fakes):
    figure = plots.overlaid(fakes, singles=True)
    assert [line.name for line in figure.data if line.showlegend] == ["darts", "entmax"]
    assert len({line.xaxis for line in figure.data}) == len(
        plots.overlaid_frame(fakes)["what"].unique()
    )
    dotted = [line for line in plots.retraining(fakes).data if line.line.dash == "dot"]
    assert {line.legendgroup for line in dotted} == {"darts"}
    matrix = plots.agreement_matrix(fakes)
    assert matrix.index.tolist() == ["darts-0", "darts-1", "entmax-0", "entmax-1"]
    assert np.isnan(np.diag(matrix)).all()
    assert np.array_equal(matrix, matrix.T, equal_nan=True)
    assert len(plots.agreement(fakes).layout.shapes) == 2  # between the two methods
    names = [trace.name for trace in plots.accuracy(fakes).data if trace.name]
    assert names == ["mean ± sd over searches", "± sd of retrainings"]


def test_searches_in_folders_of_equal_name_stay_two(tmp_path: Path):
    runs = [fake_run(tmp_path / f"s{seed}" / "run", seed=seed) for seed in (0, 1)]
    other = fake_run(tmp_path / "alone", seed=2)
    assert comparison.run_names([*runs, other, other]) == ["s0/run", "s1/run", "alone", "alone (2)"]
    assert comparison.runs_frame(runs)["run"].tolist() == ["s0/run", "s1/run"]
    assert plots.agreement(runs).layout.xaxis.ticktext == ("s0/run", "s1/run")
    assert plots.agreement_matrix([other, other]).shape == (2, 2)
    lines = plots.overlaid(runs, what=["loss_train"], singles=True).data
    assert [line.name for line in lines if line.opacity] == ["s0/run", "s1/run"]
    assert all(np.all(np.diff(line.x) > 0) for line in lines if line.opacity)


def test_the_accuracy_drawn_is_of_searches_also_in_folders_of_equal_name(tmp_path: Path):
    runs = []
    for seed, accuracy in enumerate((0.9, 0.8)):
        run = fake_run(tmp_path / f"s{seed}" / "run", seed=seed, evaluated=False)
        evaluate(run, [accuracy])
        runs.append(run)
    searches = plots.accuracy(runs).data[-1]
    assert searches.name == "mean ± sd over searches"  # and none of retrainings
    assert searches.error_x.array[0] == pytest.approx(100 * 0.1 / math.sqrt(2))
    cost = plots.accuracy_against_time(runs).data[0]
    assert cost.error_y.array[0] == pytest.approx(100 * 0.1 / math.sqrt(2))
    seconds = comparison.runs_frame(runs)["seconds"]
    assert cost.x[0] == pytest.approx(seconds.mean())


def test_the_search_time_drawn_is_that_of_the_table(fakes):
    slow = Run(fakes[3].path)  # it was not evaluated
    vars(slow).update(vars(fakes[3]) | {"epochs": fakes[3].epochs.assign(seconds=100.0)})
    runs = [*fakes[:3], slow]
    drawn = plots.accuracy_against_time(runs)
    named = dict(zip(drawn.data[0].customdata, drawn.data[0].x, strict=True))
    table = comparison.methods_frame(runs).set_index("method")["seconds"]
    assert named == pytest.approx(table.to_dict())
    assert max(named.values()) > 100
    assert "time: mean of all searches" in drawn.layout.title.subtitle.text


def test_sizes_of_evaluated_networks_are_not_mixed_with_those_of_the_search(fakes):
    entmax = fakes[2:]  # the first is evaluated, the second is not
    small, large = comparison.runs_frame(entmax).set_index("retrainings")["parameters"][[0, 1]]
    assert (small != large, large) == (True, 54321)
    table = comparison.table_one(entmax)["darts", "digits"]
    assert table["parameters (M)"].tolist() == ["0.0543"]
    assert table["MACs (M)"].tolist() == ["0.988"]
    row = comparison.methods_frame(entmax).iloc[0]
    assert (row["parameters"], row["macs"]) == (54321, 987654)
    assert math.isnan(row["parameters_sd"])
    assert row["seconds"] == comparison.runs_frame(entmax)["seconds"].mean()
    assert comparison.honest_table(entmax)["parameters (k)"].tolist() == ["54.3"]
    assert "at the search's size" not in comparison.table_note(entmax)
    alone = comparison.methods_frame(fakes[3:])["parameters"]
    assert alone.tolist() == [small]
    assert "MACs of entmax are of the network at the search's size" in (
        comparison.table_note(fakes[3:])
    )


def test_table_one_counts_the_searches_its_accuracy_is_of_and_names_the_others(fakes):
    table = comparison.table_one(fakes)["darts", "digits"]
    assert table["searches"].tolist() == ["2", "1"]
    note = comparison.table_note(fakes)
    assert "Of entmax, 1 of 2 searches is not evaluated." in note
    assert "Of darts" not in note
    none = fakes[3:]
    assert comparison.table_one(none)["darts", "digits"]["searches"].tolist() == ["0"]
    assert "Of entmax, 1 of 1 searches is not evaluated." in comparison.table_note(none)


def test_runs_of_a_method_that_was_set_otherwise_are_no_seeds_of_it(fakes, tmp_path: Path):
    runs = []
    for seed, rate in ((0, None), (1, None), (0, 0.1)):
        config = {"method": "darts", "seed": seed, "arch_lr": rate, "out": f"{seed}{rate}"}
        stages = [stage(arch_optimizer=f"Adam(lr={rate or 3e-4})")]
        meta = {"method": METHODS["darts"] | {"stages": stages}, "config": config}
        runs.append(fake_run(tmp_path / f"{seed}-{rate}", meta=meta, seed=seed))
    plain, tuned = "darts · arch_lr by default", "darts · arch_lr 0.1"
    assert comparison.labels(runs) == [plain, plain, tuned]
    assert comparison.labels(runs[:2]) == ["darts", "darts"]
    assert comparison.labels([*fakes[:1], *runs[1:]]) == ["darts", plain, tuned]  # not recorded
    table = comparison.table_one(runs).set_index(("", "", "method"))["darts", "digits"]
    assert list(table.index) == [plain, tuned]
    assert list(table["searches"]) == ["2", "1"]
    assert list(comparison.methods_frame(runs)["runs"]) == [2, 1]
    names = [line.name for line in plots.overlaid(runs).data if line.showlegend]
    assert names == [plain, tuned]


def recorded(path: Path, seed: int, **meta: object) -> Run:
    return fake_run(path, meta={"method": METHODS["darts"], **meta}, seed=seed, evaluated=False)


def test_searches_from_python_are_told_apart_by_what_they_recorded(tmp_path: Path):
    other = METHODS["darts"] | {"stages": [stage(relaxation="Entmax(3)")]}
    runs = [
        recorded(tmp_path / "a", 0),
        recorded(tmp_path / "b", 1),
        recorded(tmp_path / "c", 0, method=other),
        fake_run(tmp_path / "d", meta={"method": METHODS["darts"]}, nodes=3, evaluated=False),
    ]
    plain, tuned, larger = comparison.labels(runs)[1:]
    assert comparison.labels(runs)[0] == plain
    assert plain == "darts · relaxation Softmax(), nodes 2"
    assert tuned == "darts · relaxation Entmax(3), nodes 2"
    assert larger == "darts · relaxation Softmax(), nodes 3"
    assert list(comparison.methods_frame(runs)["runs"]) == [2, 1, 1]
    assert {"relaxation", "nodes"} < set(comparison.settings_frame(runs).columns)
    assert comparison.table_one(runs).columns[1][0] == "darts"  # the space says its own name


def test_stages_of_one_name_and_their_number_tell_methods_apart(tmp_path: Path):
    stages = [
        [stage(epochs="10"), stage(epochs="10")],
        [stage(epochs="11"), stage(epochs="10")],
        [stage(epochs="10")],
    ]
    methods = [METHODS["darts"] | {"stages": own} for own in stages]
    runs = [recorded(tmp_path / str(at), 0, method=own) for at, own in enumerate(methods)]
    assert comparison.labels(runs[:2]) == [
        "darts · search 1.epochs 10",
        "darts · search 1.epochs 11",
    ]
    assert len(set(comparison.labels(runs))) == 3


def test_a_space_of_other_candidates_is_another_whatever_stands_beside(tmp_path: Path):
    def parts(nodes: str, layout: str) -> dict[str, str]:
        return {"nodes": nodes, LAYOUT: layout}

    assert telling([parts("2", "p"), parts("2", "q")]) == [LAYOUT]
    assert telling([parts("2", "p"), parts("3", "r")]) == ["nodes"]
    assert telling([parts("2", "p"), parts("2", "q"), parts("3", "r")]) == ["nodes", LAYOUT]
    assert telling([parts("2", "p"), {"nodes": "2"}]) == []


@pytest.mark.parametrize(
    "strange",
    [
        {"name": "x", "stages": 3},
        {"name": "x", "stages": ["s"]},
        {"name": "x", "stages": None},
        [1],
    ],
)
def test_what_others_recorded_of_a_method_is_compared_as_far_as_it_goes(tmp_path: Path, strange):
    runs = [recorded(tmp_path / "a", 0, method=strange), recorded(tmp_path / "b", 1)]
    assert len(comparison.labels(runs)) == 2
    assert comparison.table_note(runs)


def test_one_thing_asked_for_in_two_ways_is_one(tmp_path: Path):
    runs = [
        recorded(tmp_path / str(seed), seed, config={"seed": seed, "nodes": given})
        for seed, given in enumerate((2, None))
    ]
    assert comparison.labels([*runs, recorded(tmp_path / "2", 2)]) == ["darts"] * 3
    assert comparison.mixed_settings(runs) == []


def test_other_images_under_one_name_are_another_data_set(tmp_path: Path):
    runs = [
        recorded(tmp_path / mark, 0, data={"name": "folder", "fingerprint": mark * 64})
        for mark in "ab"
    ]
    assert comparison.labels(runs) == ["darts · images aaaaaaaa", "darts · images bbbbbbbb"]


def test_the_note_says_what_makes_a_mean_less_than_it_seems(tmp_path: Path):
    full = recorded(tmp_path / "full", 0)
    about = {"method": METHODS["darts"], "space": "darts", "data": "digits", "seed": 0}
    pipe = record(fake_events(seed=0), tmp_path / "cut", meta=about)
    next(event for event in pipe if isinstance(event, EpochEnded))
    pipe.close()
    cut = open_run(tmp_path / "cut")
    for run, epochs in ((full, 1), (cut, 6)):
        genotype = run.latest_genotype
        assert genotype is not None
        recipe = {"epochs": epochs, "seed": 0}
        list(record_evaluation(fake_evaluation(genotype), run.path, recipe=recipe))
    runs = find_runs([full.path, cut.path])
    note = comparison.table_note(runs)
    assert "1 of 2 searches did not finish (stopped after epoch 1)" in note
    assert "Several searches of darts have the seed 0" in note
    assert "trained by other recipes (epochs 1, 6)" in note
    assert "other recipes" not in comparison.table_note(runs[:1])
    cost = "darts", "digits", "search cost"
    assert list(comparison.table_one(runs)[cost]) == list(comparison.table_one(runs[:1])[cost])


def test_one_setting_has_one_row_on_every_space_and_others_are_told_of(tmp_path: Path):
    def searched(name: str, epochs: int, data: str) -> Run:
        method = METHODS["darts"] | {"stages": [stage(epochs=str(epochs))]}
        config = {"seed": 0, "epochs": epochs}
        return recorded(tmp_path / name, 0, method=method, config=config, data=data)

    runs = [searched("a", 3, "digits"), searched("b", 2, "digits"), searched("c", 3, "cifar10")]
    table = comparison.table_one(runs, quantities=["searches"])
    assert list(table["", "", "method"]) == ["darts · epochs 3", "darts · epochs 2"]
    assert table["darts", "cifar10", "searches"].tolist() == ["0", "–"]
    assert "otherwise in other columns" not in comparison.table_note(runs)
    apart = [runs[1], runs[2]]
    assert list(comparison.table_one(apart)["", "", "method"]) == ["darts"]
    assert "In epochs darts is set otherwise in other columns." in comparison.table_note(apart)
    asked = [
        recorded(tmp_path / f"{data}{at}", at, config={"seed": at, "epochs": epochs}, data=data)
        for at, (epochs, data) in enumerate([(None, "digits"), (3, "digits"), (3, "cifar10")])
    ]  # of one method, as it is by default and given
    for own in (asked, asked[:2], asked[1:]):
        assert "set otherwise" not in comparison.table_note(own)
    python = [recorded(tmp_path / "p", 0, data="digits")]
    method = METHODS["darts"] | {"derivation": "EdgeArgmax()"}
    python.append(recorded(tmp_path / "q", 0, method=method, data="cifar10"))
    assert "In derivation darts is set otherwise" in comparison.table_note(python)


def test_sizes_that_tell_runs_apart_are_told_in_their_place_only(tmp_path: Path):
    def searched(name: str, data: dict[str, object], size: int | None) -> Run:
        return recorded(tmp_path / name, 0, config={"seed": 0, "image_size": size}, data=data)

    folders = [{"name": "folder", "fingerprint": mark * 64} for mark in "ab"]
    runs = [searched("a", folders[0], 16), searched("b", folders[1], 32)]
    runs.append(searched("c", {"name": "cifar10"}, None))
    told = [group.settings for group in groups_of(runs)]
    assert told == ["image_size 16", "image_size 32", ""]


def test_a_method_has_one_colour_in_all_figures(fakes):
    runs = [fakes[3], *fakes[:2]]  # the first method is not evaluated
    shown = {t.name: t.line.color for t in plots.retraining(runs).data if t.showlegend}
    assert shown == {
        t.name: t.line.color
        for t in plots.overlaid(runs).data
        if t.showlegend and t.name == "darts"
    }


def test_names_stay_apart_in_the_figure_of_costs(fakes, tmp_path: Path):
    small = fake_run(tmp_path / "s", meta={"method": METHODS["darts"] | {"name": "darts_small"}})
    assert plots.accuracy_against_time([small]).data[0].text == ("darts",)
    assert set(plots.accuracy_against_time([small, fakes[0]]).data[0].text) == {
        "darts", "darts_small",
    }  # fmt: skip


def test_settings_of_the_machine_make_no_other_search():
    assert SAME <= set(SearchConfig.model_fields)
    assert set(MACHINE_SETTINGS) <= SAME
