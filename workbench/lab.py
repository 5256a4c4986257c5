"""JupyterLab at the notebooks: for this machine only, and never without a token."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import WorkbenchError
from workbench.report import find_notebook
from workbench.trace.folder import replacing

HOST = "127.0.0.1"
PORTS = range(8888, 8938)  # as JupyterLab tries them
COPIES = "workbench-notebooks"
_IDENTITY = "PasswordIdentityProvider"  # the server's own; a token can always log in to it


class LabError(WorkbenchError):
    """JupyterLab could not be opened."""


class Places(NamedTuple):
    """What JupyterLab shows: everything below `root`, at first the folder `notebooks` in it."""

    root: Path
    notebooks: Path


def lab(*, port: int | None = None, browser: bool = True) -> None:
    """Run JupyterLab at the notebooks until it is interrupted.

    It listens on 127.0.0.1 and asks for a token, whatever the user's own Jupyter settings say: what
    is set here is what a command line sets, which wins.  The token is new every time, unless the
    environment variable JUPYTER_TOKEN holds one, and stands on no command line, where every user
    of the machine could read it.

    Args:
        port: Where to listen; by default the first free one from 8888 on.
        browser: Open a browser.

    Raises:
        LabError: if there is no JupyterLab, the port is taken, or the notebooks cannot be copied.
        ReportError: if no notebook is installed.
    """
    try:
        from jupyterlab.labapp import LabApp
    except ImportError as error:
        raise LabError(
            f"JupyterLab cannot be loaded ({error}); install it with: pip install jupyterlab"
        ) from error

    found = places(find_notebook().parent, Path.cwd())
    token = os.environ.get("JUPYTER_TOKEN") or secrets.token_hex(24)
    wanted = free_port(port)
    server = LabApp.initialize_server(
        argv=arguments(found, port=wanted, browser=browser, token=token)
    )
    if server.ip != HOST or server.identity_provider.token != token:
        raise LabError("Jupyter did not take its address and token from here; nothing was opened")
    server.web_app.settings.setdefault("page_config_hook", _without_news)
    start = found.notebooks.relative_to(found.root).as_posix()
    print(
        f"JupyterLab, for this machine only: http://{HOST}:{server.port}/lab/tree/{start}"
        f"?token={token}\n"
        f"notebooks: {found.notebooks}\nCtrl-C stops it",
        flush=True,
    )
    server.start()


def places(source: Path, here: Path) -> Places:
    """The notebooks themselves in a checkout; else copies, with what they import, in `here`.

    A checkout is shown whole, or `here` if that holds it, so that runs are seen beside notebooks.
    Copies that are there already, changed perhaps, stay as they are.

    Raises:
        LabError: if they cannot be written.
    """
    checkout = source.parent
    if (checkout / "pyproject.toml").is_file():
        return Places(here if checkout.is_relative_to(here) else checkout, source)
    copies = here / COPIES
    try:
        copies.mkdir(exist_ok=True)
        for file in sorted([*source.glob("*.ipynb"), *source.glob("*.py")]):
            copy = copies / file.name
            if not copy.exists():
                with replacing(copy) as part:
                    part.write_bytes(file.read_bytes())
    except OSError as error:
        raise LabError(
            f"the notebooks cannot be copied into {copies} ({error.strerror}); "
            "go to a folder that can be written"
        ) from error
    return Places(here, copies)


def arguments(found: Places, *, port: int, browser: bool, token: str) -> list[str]:
    """What JupyterLab is told, as words of its command line; they win over its config files."""
    start = found.notebooks.relative_to(found.root).as_posix()
    server = {
        "ip": HOST,
        "port": port,
        "port_retries": 0,
        "sock": "",
        "base_url": "/",
        "certfile": "",
        "keyfile": "",
        "open_browser": browser,
        "root_dir": found.root,
        "allow_root": True,  # of a container: nobody else comes near it, and nobody without a token
        "identity_provider_class": f"jupyter_server.auth.identity.{_IDENTITY}",
        "answer_yes": True,  # Ctrl-C stops it, and does not ask
        "log_level": "WARN",
    }
    return [
        *(f"--ServerApp.{name}={value}" for name, value in server.items()),
        # the longer name would win over the shorter one of a config file, and the other way round
        f"--IdentityProvider.token={token}",
        f"--{_IDENTITY}.token={token}",
        f"--LabApp.default_url=/lab/tree/{start}",
        "--LabApp.log_level=WARN",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]


def _without_news(handler: object, page: dict[str, Any]) -> dict[str, Any]:
    """Neither fetch Jupyter's news nor ask whether to; no option of the server turns it off."""
    news = "@jupyterlab/apputils-extension:announcements"
    return {**page, "disabledExtensions": [*page.get("disabledExtensions", []), news]}


def free_port(wanted: int | None = None) -> int:
    """The port `wanted`, or the first free one that JupyterLab would try.

    Raises:
        LabError: if it is taken, or all are.
    """
    if wanted is not None and not 1 <= wanted <= 65535:
        raise LabError(f"--port must be between 1 and 65535, not {wanted}")
    for port in PORTS if wanted is None else [wanted]:
        with socket.socket() as probe:
            if os.name == "posix":  # a port that was just left counts as free, as for the server
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    which = f"port {wanted} is" if wanted else f"ports {PORTS[0]} to {PORTS[-1]} are"
    raise LabError(f"{which} taken or not allowed; choose another with --port")
