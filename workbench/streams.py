"""What a command says, and where nobody can hear it."""

from __future__ import annotations

import io
import os
import sys


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
        print(f"workbench: {line}", file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
