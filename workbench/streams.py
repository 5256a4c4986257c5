"""What a command says, and where nobody can hear it."""

from __future__ import annotations

import io
import os
import sys
import warnings
from pathlib import Path

from workbench.limits import printable, printable_lines

_PACKAGE = Path(__file__).parent
_PLAIN = warnings.formatwarning


def prepare_streams() -> None:
    """Let there be standard input, output and errors, if only into nowhere.

    A closed one would be the next file that is opened, and a library's warning would lie in it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            while os.open(os.devnull, os.O_RDWR) < number:
                pass
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):  # a terminal without → and α prints ? for them
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    warnings.formatwarning = _as_a_line


def _as_a_line(
    message: Warning | str, category: type[Warning], filename: str, *rest: object
) -> str:
    """A warning as it is printed: of this package's own calls without the line of code."""
    if Path(filename).is_relative_to(_PACKAGE):
        return f"workbench: {printable(str(message))}\n"
    return _PLAIN(message, category, filename, *rest)  # pyright: ignore[reportArgumentType]


def is_of_output(error: OSError) -> bool:
    """Is it that standard output takes no more?  Then it goes nowhere from now on."""
    try:
        print(flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return isinstance(error, BrokenPipeError)


def tell(line: str) -> None:
    """A line for whoever reads the errors; where they cannot be written the exit code says it."""
    try:
        print(f"workbench: {printable_lines(line)}", file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
