"""A search on the command line that is asked to end by a signal, and goes on another time."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.killing import differences, read_whole, search_into
from tests.faults.processes import begun, ended, silent, started, waited
from workbench.cli import main
from workbench.interrupts import EXIT_CODE
from workbench.tasks import DEMO
from workbench.trace import open_run

_GIVEN = {k: v for k, v in DEMO.model_dump().items() if v is not None and k != "out"}
# The demo's own settings, but for epochs, so that a resumed end can be waited for.
BUDGET: Mapping[str, Any] = _GIVEN | {"epochs": 1, "threads": 1, "kernel_threads": 1}


@dataclass
class Ended:
    """How a search ended that was sent a signal."""

    signal: str
    after: float  # seconds after its first line
    seconds: float = 0.0  # from the signal to its end
    sent: bool = False  # False: it ended before
    wrong: list[str] = field(default_factory=list)


def flags(settings: Mapping[str, Any], out: Path) -> list[str]:
    """A search's settings as words of the command line."""
    words = {k: v for k, v in settings.items() if v is not None and not isinstance(v, bool)}
    pairs = [(f"--{k.replace('_', '-')}", str(v)) for k, v in words.items()]
    return ["search", *[word for pair in pairs for word in pair], "--out", str(out)]


def command(words: list[str]) -> None:
    """In a process of its own: a command, which ends as it does in a shell."""
    silent()
    main(words)


class Signalling:
    """Sends signals to searches in `base`; one that was sent none is beside them."""

    def __init__(self, base: Path, settings: Mapping[str, Any] = BUDGET, seed: int = 0) -> None:
        self.base, self.settings, self.random = base, settings, random.Random(seed)
        process, out = started(search_into, base / "whole", settings), base / "whole"
        waited(lambda: begun(out), process)
        first = time.monotonic()
        assert ended(process) == 0
        self.length, self.whole = time.monotonic() - first, open_run(out)

    def once(self, number: signal.Signals, *, twice: bool = False) -> Ended:
        """Send a signal at a random moment, look at what is left, and go on with it."""
        out = self.base / "asked"
        shutil.rmtree(out, ignore_errors=True)
        found = Ended(number.name, self.random.random() * self.length * 0.95)
        process = started(command, flags(self.settings, out))
        waited(lambda: begun(out), process)
        process.join(found.after)
        if process.exitcode is not None:
            return found
        began = time.monotonic()
        _send(process.pid, number)
        if twice:
            time.sleep(0.002)
            _send(process.pid, number)
        code = ended(process)
        found.sent, found.seconds = True, time.monotonic() - began
        read_whole(out)
        if open_run(out).status == "finished" and code == 0:
            found.sent = False  # it was at its end already
            return found
        if code not in ((EXIT_CODE, -number) if twice else (EXIT_CODE,)):
            found.wrong.append(f"exit code {code}")
        if not list((out / "checkpoints").glob("*.json")):
            if not twice:  # a second one may come before the first checkpoint
                found.wrong.append("no checkpoint")
            return found
        code = ended(started(command, ["search", "--resume", str(out)]))
        found.wrong += [f"resumed: exit code {code}"] if code else []
        found.wrong += differences(self.whole, open_run(out))
        return found

    def by_a_real_process(self, number: signal.Signals = signal.SIGTERM) -> Ended:
        """The same by `python -m workbench`, whose start takes seconds."""
        out = self.base / "real"
        shutil.rmtree(out, ignore_errors=True)
        words = [sys.executable, "-m", "workbench"]
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen([*words, *flags(self.settings, out)], **pipe) as process:
            while not begun(out):
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.01)
            found = Ended(f"{number.name}, real process", self.random.random() * self.length / 2)
            time.sleep(found.after)
            began = time.monotonic()
            process.send_signal(number)
            said = process.communicate(timeout=120)[1]
        found.sent, found.seconds = True, time.monotonic() - began
        if process.returncode != EXIT_CODE or f"--resume {out}" not in said:
            found.wrong.append(f"exit code {process.returncode}: {said[-300:]}")
        done = subprocess.run([*words, "search", "--resume", out], check=False, **pipe)
        found.wrong += [done.stderr[-300:]] if done.returncode else []
        found.wrong += differences(self.whole, open_run(out))
        return found


def _send(pid: int | None, number: signal.Signals) -> None:
    assert pid is not None
    os.kill(pid, number)


def signalled(
    base: Path, moments: int, seed: int = 0, settings: Mapping[str, Any] = BUDGET, real: int = 3
) -> Iterator[Ended]:
    """So many SIGTERMs, some by real processes, then SIGINT, SIGUSR1 and SIGTERM twice."""
    signalling, sent = Signalling(base, settings, seed), 0
    while sent < moments - real:
        found = signalling.once(signal.SIGTERM)
        sent += found.sent or bool(found.wrong)
        yield found
    for _ in range(min(real, moments)):
        yield signalling.by_a_real_process()
    for number, twice in ((signal.SIGINT, False), (signal.SIGUSR1, False), (signal.SIGTERM, True)):
        found = signalling.once(number, twice=twice)
        found.signal += " twice" if twice else ""
        yield found
