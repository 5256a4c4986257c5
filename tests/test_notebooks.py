"""The numbered notebooks: what they ask, what they are told, and the method file beside one.

That each runs is shown by `.ci/run`, by papermill.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from workbench.config import SearchConfig
from workbench.data import load
from workbench.engine import Machine
from workbench.notebook_parameters import NOTEBOOK, from_parameters, papermill_parameters
from workbench.probes import named
from workbench.search import search
from workbench.spaces.darts import darts
from workbench.trace import open_run, record

FOLDER = Path(__file__).parents[1] / "notebooks"
NUMBERED = (
    "01_search", "02_weights", "03_dominance", "04_pruning", "05_cells", "06_compare",
    "07_zero_cost", "08_evaluate", "09_your_own",
)  # fmt: skip


def cells(name: str) -> list[dict]:
    return json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]


def parameters(name: str) -> dict[str, object]:
    (cell,) = [c for c in cells(name) if "parameters" in c["metadata"].get("tags", [])]
    values: dict[str, object] = {}
    exec("".join(cell["source"]), {"__builtins__": {}}, values)
    return {key: value for key, value in values.items() if not key.startswith("_")}


def code(name: str) -> str:
    return "\n".join("".join(c["source"]) for c in cells(name) if c["cell_type"] == "code")


@pytest.mark.parametrize("name", NUMBERED)
def test_its_title_is_its_question(name: str) -> None:
    first = "".join(cells(name)[0]["source"])
    title, _, rest = first.partition("\n")
    assert title.startswith("# ")
    assert title.endswith("?")
    assert 80 < len(rest.strip()) < 450  # what will be seen, within a first screen


@pytest.mark.parametrize("name", NUMBERED)
def test_it_can_be_told_where_to_write_and_how_long_to_search(name: str) -> None:
    told = parameters(name)
    assert told["out"] == ""
    assert isinstance(told["epochs"], int)
    assert 1 <= told["epochs"] <= 5
    names = [node for node in ast.walk(ast.parse(code(name))) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    assert set(told) <= read  # no parameter does nothing


@pytest.mark.parametrize("name", sorted({*NUMBERED} - {"01_search", "09_your_own"}))
def test_it_searches_itself_unless_it_is_told_of_a_run(name: str) -> None:
    told = parameters(name)
    assert [told[key] for key in ("run", "runs") if key in told] == [""]


@pytest.mark.parametrize("name", NUMBERED)
def test_probes_and_methods_it_names_exist(name: str) -> None:
    from workbench import methods

    told = parameters(name)
    for method in f"{told.get('method', '')} {told.get('methods', '')}".split():
        assert methods.find(method) is not None
    for node in ast.walk(ast.parse(code(name))):
        if isinstance(node, ast.keyword) and node.arg == "probes":
            if isinstance(node.value, ast.Constant):
                assert set(str(node.value.value).split(",")) <= set(named())


def test_the_searching_notebook_takes_every_setting() -> None:
    assert NOTEBOOK == "01_search.ipynb"
    told = parameters("01_search")
    assert set(told) == set(papermill_parameters(SearchConfig()))
    config = from_parameters(**told)
    assert (config.channels, config.cells, config.nodes, config.out) == (4, 4, 4, None)


def my_method() -> ModuleType:
    spec = importlib.util.spec_from_file_location("my_method", FOLDER / "my_method.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["my_method"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_method_beside_the_notebook_lowers_what_it_prices(tmp_path: Path) -> None:
    """After the same few steps `none` has less weight, and the probe is the alphas' own margin."""
    own, space = my_method(), darts(channels=2, cells=2, nodes=1)
    weights = {}
    for price in (0.0, 100.0):
        method = own.mine.but(epochs=1, regularizers=(own.FewerOf("none", weight=price),))
        data = load("digits")
        events = search(
            method.but(steps_per_epoch=4), space, data, probes=[own.lead],
            machine=Machine("cpu"), seed=0,
        )  # fmt: skip
        for _ in record(events, tmp_path / str(price)):
            pass
        trace = open_run(tmp_path / str(price)).trace
        weights[price] = float(trace["mix"].isel(step=-1).sel(op="none").mean())
        top = torch.tensor(trace["alpha"].isel(step=-1).to_numpy()).topk(2, dim=1).values
        assert trace["lead"].isel(step=-1).to_numpy() == pytest.approx(top[:, 0] - top[:, 1])
    assert weights[100.0] < weights[0.0]


def test_a_price_below_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 0 or more"):
        my_method().FewerOf("none", weight=-1.0)


UNTRUE = {
    "the share each operation has in its edge": "gates of fair_darts do not sum to 1",
    '"Entropy should fall towards zero': "gates of fair_darts may be open side by side",
    "the weight it had one step before": "a pruner asked at an epoch's end has that of the step",
    "alive those that were not pruned": "the figure of support has no such curve",
    "Untouched weights give": "gates of fair_darts each begin at a half",
    "as their weights reach zero": "asap and te_nas prune at other weights",
    "are the probe, which measures": "a run that was given may have other probes, or none",
}


@pytest.mark.parametrize("sentence", UNTRUE)
def test_no_notebook_says_what_is_untrue_of_some_run(sentence: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in FOLDER.glob("*.ipynb")]
    assert not [text for text in texts if sentence in text], UNTRUE[sentence]
