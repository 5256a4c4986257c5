"""The buttons above every figure: none uploads it to plotly's cloud, as by default one does."""

from __future__ import annotations

import sys

import plotly.io as pio

CONFIG = {
    "showSendToCloud": False,
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg"},
}


def in_notebooks() -> None:
    """Figures that show themselves in this process have `CONFIG`, if it is a notebook's.

    Elsewhere none does, and plotly's renderers would import nbformat, which takes two seconds.
    """
    python = sys.modules.get("IPython")
    if python is not None and python.get_ipython() is not None:
        pio.renderers["plotly_mimetype"].config = dict(CONFIG)
