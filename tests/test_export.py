from __future__ import annotations

import pandas as pd
import pytest

from tests.fakes import fake_run
from tests.test_cli import refusal
from workbench import Genotype, comparison, plots
from workbench.cli import main
from workbench.export import ExportError, export


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fake_run(tmp_path_factory.mktemp("runs") / "run")


def test_every_frame_is_written_as_it_is(run, tmp_path):
    written = {path.name for path in export(run, tmp_path / "out")}
    for name, make in plots.FRAMES.items():
        frame = make(run)
        assert (f"{name}.csv" in written) == (len(frame) > 0)
        if len(frame):
            read = pd.read_csv(tmp_path / "out" / f"{name}.csv")
            rows = [frame.index.name] if frame.index.name else []  # true classes of a confusion
            assert list(read) == [*rows, *frame]
            assert len(read) == len(frame)
    assert len(pd.read_csv(tmp_path / "out" / "trace.csv")) == len(run.to_dataframe())
    text = (tmp_path / "out" / "genotype.json").read_text(encoding="utf-8")
    assert Genotype.from_json(text) == run.genotype
    assert (tmp_path / "out" / "cells.svg").read_text(encoding="utf-8").startswith("<svg")
    assert {path.name for path in (tmp_path / "out").iterdir()} == written


def test_every_figure_has_a_frame_and_both_are_exported_names():
    with_two = {"time_and_memory"}  # step_time and memory
    assert set(plots.FIGURES) - with_two <= set(plots.FRAMES)
    frames = {n.removesuffix("_frame") for n in plots.__all__ if n.endswith("_frame")}
    # of genotypes, of several runs or scores; of a space; of a probe that has to be named
    of_many_or_none = {
        "accuracy", "genotype_difference", "genotype_graph", "overlaid", "probe", "scores",
        "space_cell",
    }  # fmt: skip
    assert frames - of_many_or_none <= set(plots.FRAMES)


def test_everything_that_is_drawn_can_be_had_as_a_table():
    elsewhere = {
        "accuracy_against_time": plots.accuracy_frame,
        "agreement": plots.agreement_matrix,
        "cell_graph": plots.genotype_graph_frame,
        "curves": comparison.curves_frame,
        "retraining": comparison.retraining_frame,
        "time_and_memory": plots.step_time_frame,  # and memory_frame
    }
    tables = {"agreement_matrix"} | {name for name in plots.__all__ if name.endswith("_frame")}
    drawn = {name for name in plots.__all__ if name.islower()} - tables - {"probed"}
    assert {"cells", "genotype_history", "heat_map", *elsewhere} <= drawn
    assert {name for name in drawn if f"{name}_frame" not in tables} == set(elsewhere)


def test_a_folder_with_other_things_is_refused_and_an_earlier_export_is_replaced(
    run, tmp_path, capsys
):
    main(["export", str(run.path), "--out", str(tmp_path)])
    assert "files in" in capsys.readouterr().out
    (tmp_path / "cost.csv").write_text("old")
    export(run, tmp_path)
    assert (tmp_path / "cost.csv").read_text() != "old"
    (tmp_path / "thesis.tex").write_text("mine")
    said = refusal(capsys, "export", str(run.path), "--out", str(tmp_path))
    assert "holds other things (thesis.tex)" in said


def test_what_is_wrong_is_said_in_a_line(run, tmp_path, capsys):
    assert "no run folder" in refusal(capsys, "export", str(tmp_path), "--out", str(tmp_path / "o"))
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refusal(
        capsys, "export", str(run.path), "--out", str(tmp_path / "file")
    )
    with pytest.raises(ExportError, match="'gif' is none of svg, png"):
        export(run, tmp_path / "out", pictures="gif")


def test_a_run_that_has_not_ended_is_exported_as_far_as_it_is(tmp_path):
    from tests.fakes import fake_events
    from workbench.trace import open_run, record

    events = record(fake_events(), tmp_path / "run", meta={})
    next(events)
    written = export(open_run(tmp_path / "run"), tmp_path / "out")
    events.close()
    assert "genotype.json" not in {path.name for path in written}
    assert "summary_table.csv" in {path.name for path in written}


def test_a_confusion_keeps_the_names_of_its_true_classes(run, tmp_path):
    export(run, tmp_path / "out")
    read = pd.read_csv(tmp_path / "out" / "confusion.csv", index_col="true class", dtype=str)
    counts = plots.confusion_frame(run)
    assert read.index.astype(str).tolist() == counts.index.tolist()
    assert read.astype(int).to_numpy().tolist() == counts.to_numpy().tolist()
