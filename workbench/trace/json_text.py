"""JSON text of what may hold half letters: bytes of a name that are no UTF-8."""

from __future__ import annotations

import json
import re
from typing import Any

_LONE = re.compile("[\ud800-\udfff]")


def to_json(value: object, indent: int | None = None) -> str:
    """JSON text, arrows and all kept as they are; what UTF-8 has no form for is escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return json.dumps(value, indent=indent) if _LONE.search(text) else text


def from_json(data: bytes) -> Any:
    """What JSON text holds, in letters that can be written: a part of one is shown as �.

    Raises:
        ValueError, RecursionError: if it is none.
    """
    value = json.loads(data.decode("utf-8-sig"))
    return _in_letters(value) if b"\\ud" in data.lower() else value


def _in_letters(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE.sub("�", value)
    if isinstance(value, list):
        return [_in_letters(part) for part in value]
    if isinstance(value, dict):
        return {_in_letters(name): _in_letters(part) for name, part in value.items()}
    return value
