"""The form: every setting of the model, what is wrong beside it, and what it will be."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import ipywidgets as w
import pytest
from pydantic import BaseModel, Field

from workbench import methods
from workbench.config import SearchConfig
from workbench.spaces.named import SPACES
from workbench.widgets.about import about_method, differing
from workbench.widgets.checked import check
from workbench.widgets.described import described
from workbench.widgets.form import Form


def form() -> Form:
    made = Form(lambda: None)
    made.show(check(made.values()))
    return made


def put(made: Form, **values: object) -> None:
    for name, value in values.items():
        made.fields[name].input.value = value
    made.show(check(made.values()))


def error_of(made: Form, name: str) -> str:
    return made.fields[name]._error.value


class Small(BaseModel):
    """Kinds of settings that a search's may not have."""

    rate: float = Field(default=0.5, gt=0, lt=1, description="a share")
    count: int | None = Field(default=None, ge=2, le=9)
    names: tuple[str, ...] = ()
    mode: Literal["a", "b"] | None = None


def test_a_setting_is_described_by_its_type_and_limits() -> None:
    rate, count, names, mode = described(Small)
    assert (rate.kind, rate.bounds, rate.optional) == ("number", "above 0, below 1", False)
    assert (count.kind, count.bounds, count.optional, count.probe) == (
        "number", "2 or more, 9 at most", True, 2,
    )  # fmt: skip
    assert names.kind == "list"
    assert (mode.kind, mode.choices, mode.optional) == ("choice", ("a", "b"), True)
    assert rate.help == "a share; above 0, below 1"


def test_every_setting_of_a_search_has_an_input_with_label_and_help() -> None:
    made = form()
    assert set(made.fields) == set(SearchConfig.model_fields)
    for name, field in made.fields.items():
        assert f"wb-field-{name}" in field.box._dom_classes
        assert field.input.description
        assert field.about.help
        assert field.about.group != "more", f"{name} stands under no heading"
    assert made.fields["image_size"].input.description == "image size (pixels)"
    assert "1 or more" in made.fields["epochs"]._help.value
    assert isinstance(made.fields["grey"].input, w.Checkbox)
    assert set(made.fields["space"].input.options) >= {(name, name) for name in SPACES}


def test_a_new_form_says_what_the_defaults_say() -> None:
    checked = check(form().values())
    assert checked.config == SearchConfig()
    assert not checked.errors


def test_settings_put_in_come_out() -> None:
    config = SearchConfig(
        method="zero_cost_multi_step_small", space="nasbench201", channels=4, weight_lr=1e-5,
        zero_cost_mode="alphas", beta2=-0.25, noise=0.1, data="cifar10", data_root=Path("/tmp"),
        download=False, deterministic=True, seed=3,
    )  # fmt: skip
    made = form()
    made.fields["method"]._above[0].value = made.fields["method"]._above[0].options[-1]
    made.fill(config)
    assert check(made.values()).config == config


def test_a_list_of_methods_shortened_to_a_family_keeps_what_was_chosen() -> None:
    made = form()
    (family,), choice = made.fields["method"]._above, made.fields["method"].input
    assert len(choice.options) == 2 * len(methods.named())
    family.value = methods.family("pc_darts").rstrip(".")
    assert choice.value == "entmax3_prune_single_level"
    assert {"pc_darts", "pc_darts_small", "asap"} < set(choice.options)
    assert "darts" not in choice.options


def test_a_bad_value_is_explained_beside_its_field_and_nothing_is_lost() -> None:
    made = form()
    put(made, channels="0", weight_lr="<b>fast</b>", epochs="7")
    assert error_of(made, "channels").count("must be 1 or more (got &#x27;0&#x27;)") == 1
    assert 'role="alert"' in error_of(made, "channels")
    assert "&lt;b&gt;fast&lt;/b&gt;" in error_of(made, "weight_lr")
    assert "<b>" not in error_of(made, "weight_lr")
    assert error_of(made, "epochs") == ""
    assert made.fields["weight_lr"].input.value == "<b>fast</b>"
    assert "wb-wrong" in made.fields["channels"].box._dom_classes
    assert made.groups["training"].box.titles == ("training · 1 to correct · 2 set",)
    put(made, channels="4")
    assert error_of(made, "channels") == ""
    assert "wb-wrong" not in made.fields["channels"].box._dom_classes


@pytest.mark.parametrize(
    ("values", "name", "said"),
    [
        ({"method": "darts", "entmax_order": "2"}, "entmax_order", "an entmax relaxation"),
        ({"method": "p_darts", "epochs": "2"}, "epochs", "needs as many epochs"),
        ({"space": "s1", "nodes": "5"}, "nodes", "1 to 4 nodes"),
        ({"data": "digitz"}, "data", "did you mean 'digits'"),
        ({"data": "folder:/no/such"}, "data", "there is no folder"),
        ({"grey": True}, "grey", "images of a folder"),
        ({"device": "abc"}, "device", "not to be had here"),
        ({"device": "cpu", "precision": "tf32"}, "precision", "needs a GPU"),
        ({"engine": "readable", "recompute": True}, "recompute", "the fast supernet's"),
        ({"seed": ""}, "seed", "whole number"),
        ({"method": "random_genotype", "candidates": "3"}, "candidates", "cannot tell"),
    ],
)
def test_what_is_refused_at_the_start_is_told_beside_the_field(
    values: dict[str, object], name: str, said: str
) -> None:
    checked = check(values)
    assert list(checked.errors) == [name]
    assert said in checked.errors[name]
    assert checked.config is None


def test_an_occupied_run_folder_is_told_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "note").touch()
    assert "no empty folder" in check({"out": str(tmp_path)}).errors["out"]
    assert not check({"out": str(tmp_path / "new")}).errors


def test_every_alien_setting_is_told_not_only_the_first() -> None:
    checked = check({"method": "darts", "entmax_order": "2", "beta1": "1", "candidates": "4"})
    assert set(checked.errors) == {"entmax_order", "beta1", "candidates"}


@pytest.mark.parametrize("name", methods.named())
def test_unused_settings_are_those_that_building_the_method_refuses(name: str) -> None:
    checked = check({"method": name})
    assert set(checked.own) & set(checked.unused) == set()
    for setting in ("entmax_order", "beta1", "candidates", "weight_steps", "arch_lr"):
        refused = setting in check({"method": name, setting: "1"}).errors
        assert refused == (setting in checked.unused), setting


def test_a_setting_the_method_has_not_cannot_be_filled_in_but_can_be_emptied() -> None:
    made = form()
    assert made.fields["beta1"].input.disabled
    assert "no such setting (a zero-cost warm-up)</div>" in made.fields["beta1"]._help.value
    assert made.groups["zero-cost warm-up"].box.titles == (
        "zero-cost warm-up · not in this method",
    )
    put(made, method="zero_cost_multi_step", beta1="2")
    assert not made.fields["beta1"].input.disabled
    put(made, method="darts")
    assert "no such setting" in error_of(made, "beta1")
    assert not made.fields["beta1"].input.disabled
    put(made, beta1="")
    assert made.fields["beta1"].input.disabled
    assert not error_of(made, "beta1")


def test_what_is_left_out_is_shown_as_the_paper_and_the_space_have_it() -> None:
    made = form()
    put(made, method="zero_cost_multi_step", space="gold")
    shown = {name: getattr(field.input, "placeholder", "") for name, field in made.fields.items()}
    assert shown["channels"] == "36 (if left out)"
    assert shown["epochs"] == "50 (if left out)"
    assert shown["weight_steps"] == "5 (if left out)"
    assert shown["weight_lr"] == "0.025 (if left out)"
    assert made.fields["zero_cost_mode"].input.label == "weights (if left out)"
    put(made, method="entmax_annealed", space="nasbench201")
    assert made.fields["entmax_order"].input.placeholder == "1:3 (if left out)"
    assert made.fields["cells"].input.placeholder == "5 (if left out)"


def test_the_difference_from_darts_follows_the_settings() -> None:
    method = check({"method": "entmax2_prune", "entmax_order": "1:2"}).method
    assert method is not None
    rows = {row.field: (row.before, row.after) for row in differing(method)}
    assert rows["relaxation"] == (
        "Softmax(temperature=1.0)", "Entmax(alpha=Linear(start=1.0, end=2.0))",
    )  # fmt: skip
    page = about_method(method)
    assert "https://doi.org/10.54503/2579-2903-2022.1-203" in page
    assert "No difference from darts" in about_method(methods.find("darts"))
    walk = about_method(methods.find("random_search"))
    assert "RandomGenotypes" in walk
    odd = methods.find("darts").but(name="<i>", summary="a & b", paper='doi:"><script>')
    assert "<script>" not in about_method(odd)
    assert "&lt;i&gt;" in about_method(odd)


def test_a_number_is_the_same_after_the_form() -> None:
    made = form()
    for value in (1 / 3, 0.1 + 0.2, 3e-4):
        made.fill(SearchConfig(arch_lr=value))
        assert made.values()["arch_lr"] == repr(value)
