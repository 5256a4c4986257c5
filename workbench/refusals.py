"""One line for each thing the command line refuses, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from workbench.config import SearchConfig
from workbench.evaluate_config import EvaluateConfig
from workbench.limits import shown
from workbench.score_config import ScoreConfig

_CONFIGS = (SearchConfig, EvaluateConfig, ScoreConfig)
_SETTINGS = sorted({name for kind in _CONFIGS for name in kind.model_fields}, key=len)
_MOST = 1000  # characters; a word of a command line can have any length
_NUMBERS = {"INT": "a whole number", "FLOAT": "a number"}


def with_flags(text: str) -> str:
    """A message whose settings are called as flags: `batch_size=4` becomes `--batch-size 4`."""
    line = " ".join(text.split())
    for name in _SETTINGS:
        flag = f"--{name.replace('_', '-')}"
        line = re.sub(
            rf"`{name}(?:=([^`]*))?`", lambda m, f=flag: f"{f} {m[1] or ''}".strip(), line
        )
        line = re.sub(rf"(^|; ){name}: ", rf"\1{flag}: ", line)
        if "_" in name:
            line = re.sub(rf"(?<![-\w/\\]){name}(?![-\w/\\])", flag, line)
    return line


def parser_line(said: str, words: Sequence[str]) -> str:
    """What the parser of flags said in a framed box, as one line."""
    text = " ".join(re.sub(r"[\u2500-\u257f]+|-{3,}", " ", said).split())
    text = re.sub(r" For full.*", "", text).strip()
    text = text if len(text) <= _MOST else f"{text[:_MOST]}…"
    lacks = re.search(r"Missing value for argument '(--[\w-]+)'", text)
    if lacks is not None:
        return f"{lacks[1]} needs a value after it"
    wrong = re.match(r".*?Error parsing (--[\w-]+): .*?(?:helptext: )?(?:\1 )(\S+) (.*)$", text)
    if wrong is None:
        return re.sub(r"^(Unrecognized options|Parsing error|Value error) (?=\S+ )", "", text)
    flag, kind, about = wrong.groups()
    at = words.index(flag) + 1 if flag in words else len(words)
    given = f", not {shown(words[at])}" if at < len(words) else ""
    choices = kind.replace("{None}|", "")
    meaning = re.sub(r" \(default: .*", "", about)
    return f"{flag} takes {_NUMBERS.get(choices, choices)}{given}: {meaning}"
