"""Commands around notebooks: open them."""

from __future__ import annotations

from typing import Annotated

import tyro


def lab(
    port: int | None = None,
    no_browser: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Open JupyterLab at the notebooks, for this machine only, with a token.

    Args:
        port: where it listens; by default the first free one from 8888 on.
        no_browser: only print the address.
    """
    from workbench.lab import lab as run

    run(port=port, browser=not no_browser)
