"""Settings as papermill parameters and as YAML, there and back."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from workbench import methods
from workbench.cli import main
from workbench.config import SearchConfig
from workbench.method_settings import own_settings
from workbench.notebook_parameters import (
    from_parameters,
    papermill_command,
    papermill_parameters,
)
from workbench.parts.relaxations import Entmax
from workbench.parts.schedules import Linear
from workbench.settings import ConfigError, checked, read_yaml

ROOT = Path(__file__).parents[1]

CONFIGS = [
    SearchConfig(),
    SearchConfig(method="entmax2_prune", entmax_order="1:2", epochs=3),
    SearchConfig(
        method="zero_cost_multi_step",
        zero_cost_mode="both",
        beta1=-0.5,
        weight_lr=1e-3,
        out=Path("a b/it's"),
        data="folder:/tmp/x: y",
        grey=True,
        download=False,
        seed=7,
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_parameters_come_back_as_the_settings_they_were(config: SearchConfig) -> None:
    parameters = papermill_parameters(config)
    assert from_parameters(**parameters) == config
    assert from_parameters(**{name: str(value) for name, value in parameters.items()}) == config
    assert "\n" not in str(parameters["settings"])


@pytest.mark.parametrize("config", CONFIGS)
def test_the_papermill_command_is_quoted_and_types_its_numbers(config: SearchConfig) -> None:
    program, notebook, output, *words = shlex.split(papermill_command(config))
    assert (program, output) == ("papermill", "out.ipynb")
    assert Path(notebook) == ROOT / "notebooks" / "01_search.ipynb"
    flags, names, texts = words[::3], words[1::3], words[2::3]
    numbers = {name for flag, name in zip(flags, names, strict=True) if flag == "-p"}
    assert numbers == {"epochs", "seed"}
    assert set(flags) == {"-p", "-r"}
    assert from_parameters(**dict(zip(names, texts, strict=True))) == config


@pytest.mark.parametrize("config", CONFIGS)
def test_yaml_comes_back_as_the_settings_it_was(config: SearchConfig, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert checked(SearchConfig, SearchConfig.from_yaml(tmp_path / "c.yaml")) == config
    assert set(SearchConfig.from_text(config.to_yaml())) == set(config.changed())


def test_a_parameter_that_is_wrong_is_refused_in_one_line() -> None:
    for parameters, said in (
        ({"epoch": 3}, "there is no setting 'epoch'; did you mean 'epochs'?"),
        ({"epochs": "three"}, "epochs: must be a whole number (got 'three')"),
        ({"settings": "epochs: 3", "epochs": 4}, "epochs is a parameter of its own"),
        ({"settings": "just words"}, "must hold `name: value`"),
        ({"settings": "{a: "}, "settings: no YAML"),
        ({"settings": "grey: maybe"}, "grey: must be a valid boolean"),
    ):
        with pytest.raises(ConfigError) as error:
            from_parameters(**parameters)
        assert said in str(error.value)
        assert "\n" not in str(error.value)
    assert from_parameters(settings="grey: 'false'", download="true").grey is False


@pytest.mark.parametrize("value", ["1:2", "1.0:2.00", " 1 : 2 "])
def test_an_entmax_order_may_rise_over_the_stage(value: str) -> None:
    config = SearchConfig(method="entmax2_prune", entmax_order=value)
    assert config.entmax_order == "1:2"
    assert config.build_method().stages[0].relaxation == Entmax(Linear(1.0, 2.0))
    words = shlex.split(config.command("search"))
    assert words[words.index("--entmax-order") + 1] == "1:2"


@pytest.mark.parametrize("value", [0.5, "0.9", "1:", "2:0.5", "1:2:3", "nan", "1:inf", True, [1]])
def test_no_other_entmax_order_is_taken(value: object) -> None:
    with pytest.raises(
        ConfigError, match=r"entmax_order: must be a number from 1 to 1,000,000, or two"
    ):
        checked(SearchConfig, {"entmax_order": value if value is not True else "true"})


def test_the_command_line_takes_a_rising_order(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = "--channels 2 --cells 1 --nodes 1 --epochs 1 --batch-size 512 --device cpu".split()
    out = tmp_path / "run"
    main(
        ["search", "--method", "entmax2_prune", "--entmax-order", "1:2", *words, "--out", str(out)]
    )
    assert (
        '"relaxation": "Entmax(alpha=Linear(start=1.0, end=2.0))"' in (out / "run.json").read_text()
    )
    with pytest.raises(SystemExit):
        main(["search", "--entmax-order", "1:0", *words])
    assert "--entmax-order: must be a number from 1 to 1,000,000, or two" in capsys.readouterr().err


def test_numbers_in_yaml_are_decimal() -> None:
    text = "{order: 1:2, lr: 1e-3, count: 12, low: -1.5, text: '1', flag: true, none: null}"
    assert read_yaml(text) == {
        "order": "1:2", "lr": 0.001, "count": 12, "low": -1.5, "text": "1", "flag": True,
        "none": None,
    }  # fmt: skip


@pytest.mark.parametrize("name", [*methods.named(), *(f"{name}_small" for name in methods.named())])
def test_a_methods_own_settings_put_into_it_change_nothing(name: str) -> None:
    method = methods.find(name)
    assert method is not None
    own = own_settings(method)
    assert own, "a method has some setting"
    for setting, value in own.items():
        assert SearchConfig(**{"method": name, setting: value}).build_method() == method
