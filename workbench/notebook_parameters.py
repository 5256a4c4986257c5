"""A search's settings as papermill parameters, and back."""

from __future__ import annotations

import shlex

import yaml

from workbench.config import SearchConfig
from workbench.limits import shown
from workbench.report import find_notebook
from workbench.settings import ConfigError, checked, read_yaml

NOTEBOOK = "01_search.ipynb"
_TEXTS = ("method", "space", "data")


def papermill_parameters(config: SearchConfig) -> dict[str, object]:
    """The parameters of the notebook that searches; all of them, as each has a default there.

    `epochs` is 0 where `config` leaves it to the paper, `out` is "" where it is left out;
    `settings` holds what else differs from the defaults, one line of YAML.
    """
    out: dict[str, object] = {name: getattr(config, name) for name in _TEXTS}
    out |= {"epochs": config.epochs or 0, "seed": config.seed}
    out |= {"out": "" if config.out is None else str(config.out)}
    rest = {name: value for name, value in config.changed().items() if name not in out}
    return {**out, "settings": _one_line(rest)}


def papermill_command(
    config: SearchConfig, notebook: str | None = None, output: str = "out.ipynb"
) -> str:
    """The command line that runs the notebook with these settings, quoted for a shell.

    By default it is that of this package, by its whole path: a terminal may stand anywhere.
    """
    words = ["papermill", notebook or str(find_notebook(NOTEBOOK)), output]
    for name, value in papermill_parameters(config).items():
        # -r is a text as it stands; -p would turn the data set "1" into a number
        words += ["-p" if isinstance(value, int) else "-r", name, str(value)]
    return shlex.join(words)


def from_parameters(**parameters: object) -> SearchConfig:
    """The settings of a notebook's parameters, as `papermill_parameters` names them.

    Numbers and truth values may be text, as papermill passes some.

    Raises:
        ConfigError: if a name is unknown or given twice, or a value is wrong.
    """
    values = dict(parameters)
    further = _further(str(values.pop("settings", "") or ""))
    if twice := sorted(set(further) & set(values)):
        raise ConfigError(
            f"settings: {', '.join(twice)} is a parameter of its own; set it there, and leave it "
            "out of settings"
        )
    if str(values.get("epochs")).strip() in ("0", "", "None"):
        values.pop("epochs", None)
    if values.get("out") in ("", None):
        values.pop("out", None)
    return checked(SearchConfig, {**values, **further})


def _further(text: str) -> dict[str, object]:
    try:
        values = read_yaml(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"settings: no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"settings: must hold `name: value`, such as 'entmax_order: 1.5' (got {shown(text)})"
        )
    return {str(name): value for name, value in values.items()}


def _one_line(values: dict[str, object]) -> str:
    if not values:
        return ""
    text = yaml.safe_dump(
        values, default_flow_style=True, sort_keys=False, allow_unicode=True, width=2**20
    ).strip()
    return text[1:-1] if len(values) == 1 else text
