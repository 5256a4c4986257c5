"""The command line: one function a command, its flags are its signature."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import tyro
from pydantic import ValidationError

from workbench.config import SearchConfig
from workbench.data_commands import check
from workbench.errors import WorkbenchError, is_out_of_memory
from workbench.genotype_commands import lookup, score
from workbench.interrupts import EXIT_CODE, Interrupted
from workbench.lab_commands import lab
from workbench.refusals import parser_line, with_flags
from workbench.run_commands import compare, export, methods
from workbench.settings import ConfigError, checked, problems
from workbench.streams import is_of_output, prepare_streams, tell
from workbench.task_commands import demo, evaluate, report, search

if TYPE_CHECKING:
    from workbench.spaces.genotype import Genotype

_Flat = tyro.conf.arg(name="")  # the config's settings are flags of the command itself
_Json = Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; wrong input ends with one line on stderr and exit code 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    prepare_streams()
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        raise SystemExit(0 if words else 2)
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        close = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        _fail(f"there is no command {name!r}; {hint}choose one of {', '.join(COMMANDS)}")
    try:
        command, rest = _with_defaults(name, rest)
        arguments_, keywords = _parse(command, f"workbench {name}", rest)
        command(*arguments_, **keywords)
        sys.stdout.flush()
    except Interrupted as error:
        tell(str(error))
        raise SystemExit(EXIT_CODE) from None
    except OSError as error:
        if not is_of_output(error):
            raise
        if not isinstance(error, BrokenPipeError):  # whose reader has seen enough, as `head` has
            _fail(f"its output cannot be written ({error.strerror}); what it did is done")
    except (WorkbenchError, FloatingPointError) as error:
        _fail(with_flags(str(error)))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        said = " ".join(str(error).split()) or type(error).__name__
        _fail(f"out of memory; see that there is more, or choose a smaller job ({said})")
    except KeyboardInterrupt:
        tell("interrupted; what was recorded so far is whole")
        raise SystemExit(130) from None


def _parse(
    command: Callable[..., None], prog: str, words: list[str]
) -> tuple[tuple[object, ...], dict[str, object]]:
    """The arguments of `command` that `words` give; what tyro says against them, as one line."""

    @wraps(command)
    def arguments(*values: object, **named: object) -> tuple[object, object]:
        return values, named

    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(arguments, prog=prog, args=words)  # pyright: ignore[reportReturnType]
    except ValidationError as error:
        _fail(f"{with_flags(problems(error))} (see {prog} --help)")
    except SystemExit as error:
        if error.code in (0, None):
            raise
        _fail(f"{parser_line(said.getvalue(), words)} (see {prog} --help)")


def _cost(
    genotype: Annotated[str, tyro.conf.Positional],
    channels: int = 36,
    cells: int = 20,
    classes: int = 10,
    auxiliary: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    size: int = 32,
    in_channels: int = 3,
    stem: Literal["small", "imagenet"] = "small",
    as_json: _Json = False,
) -> None:
    """Parameters and multiply-accumulates of the network of a genotype.

    Args:
        genotype: a text form of either field, or a file that holds one or JSON.
        channels: of the nodes of the first cell.
        cells: in the stack; cells per stage for a NAS-Bench-201 text.
        classes: of the classifier.
        auxiliary: count the auxiliary head's parameters too.
        size: side of the picture in pixels.
        in_channels: of the picture.
        stem: "imagenet" divides the picture's size by 8.
        as_json: print JSON with the keys parameters and macs.
    """
    from workbench import limits
    from workbench.spaces.network import cost

    for flag, value, most in (
        ("channels", channels, limits.CHANNELS),
        ("cells", cells, limits.DEPTH),
        ("classes", classes, limits.IMAGES),
        ("size", size, limits.PIXELS),
        ("in-channels", in_channels, limits.CHANNELS),
    ):
        if not 1 <= value <= most:
            raise ConfigError(f"--{flag} must be 1 to {most:,}, not {value}")
    found = cost(
        _genotype(genotype),
        channels=channels,
        cells=cells,
        classes=classes,
        auxiliary=auxiliary,
        in_channels=in_channels,
        size=(size, size),
        stem=stem,
    )
    if as_json:
        print(json.dumps({"parameters": found.parameters, "macs": found.macs}))
    else:
        print(f"{found.parameters:,} parameters, {found.macs:,} MACs")


def _derive(
    alphas: Annotated[Path, tyro.conf.Positional],
    space: str = "darts",
    rule: Literal["top2", "survivors", "argmax"] = "top2",
    as_json: _Json = False,
) -> None:
    """Turn arrays of alphas, named by cell kind, into a genotype.

    Args:
        alphas: an .npz file with `normal` and `reduce` (edges, operations), or `cell`; -inf marks a
            pruned operation.
        space: whose operations and edges the arrays have, by a name that `search --space` takes.
        rule: top2: two edges per node without none (DARTS); survivors: every surviving edge (paper
            B), and into a node where none wins them all its best other operation; argmax: per
            edge, none too (NAS-Bench-201).
        as_json: print JSON with the keys normal, normal_concat, reduce, reduce_concat; where a node
            has not two inputs also normal_nodes or reduce_nodes, the node of each pair.
    """
    from workbench.tasks import derive

    genotype = derive(alphas, space, rule)
    print(json.dumps(genotype.published()) if as_json else str(genotype))


COMMANDS: dict[str, Callable[..., None]] = {
    "search": search,
    "evaluate": evaluate,
    "report": report,
    "compare": compare,
    "export": export,
    "lab": lab,
    "demo": demo,
    "methods": methods,
    "check": check,
    "cost": _cost,
    "derive": _derive,
    "score": score,
    "lookup": lookup,
}


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        f"  {name:{width}}  {(command.__doc__ or '').splitlines()[0]}"
        for name, command in COMMANDS.items()
    ]
    return "\n".join(
        ["usage: workbench COMMAND …   (workbench COMMAND --help for its flags)", "", *lines]
    )


def _with_defaults(name: str, words: list[str]) -> tuple[Callable[..., None], list[str]]:
    """Take `--config FILE` out of the words of a search; its settings become the defaults.

    So do those of the run that is resumed: a flag then says what shall be other than it was.
    """
    words = [part for word in words for part in _split(word)]
    if name != "search" or not {"--config", "--resume"} & {*words}:
        return COMMANDS[name], words
    given: dict[str, object] = {}
    if "--resume" in words[:-1]:
        from workbench.evaluating import searched_with
        from workbench.trace import open_run

        given |= searched_with(open_run(words[words.index("--resume") + 1])).changed()
    if "--config" in words:
        at = words.index("--config")
        if at + 1 == len(words):
            raise ConfigError("--config needs a YAML file of settings after it")
        given |= SearchConfig.from_yaml(words[at + 1])
        words = words[:at] + words[at + 2 :]
    defaults = checked(SearchConfig, given)

    def configured(
        config: Annotated[SearchConfig, _Flat] = defaults,
        resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None,
    ) -> None:
        search(config, resume)

    configured.__doc__ = search.__doc__
    return configured, words


def _split(word: str) -> list[str]:
    flag, _, value = word.partition("=")
    return [flag, value] if flag in ("--config", "--resume") and value else [word]


def _genotype(text: str) -> Genotype:
    from workbench.limits import GENOTYPE_TEXT, path_fault, read_text, shown
    from workbench.spaces.genotype import Genotype, GenotypeError

    if text.lstrip().startswith(("|", "{")) or "(" in text:
        return Genotype.parse(text)
    if path_fault(text) or not Path(text).is_file():
        raise GenotypeError(f"{shown(text)} is no genotype's text and no file of one")
    most = 4 * GENOTYPE_TEXT  # bytes: a letter has at most four
    return Genotype.parse(read_text(text, most, "the file", GenotypeError))


def _fail(message: str) -> NoReturn:
    tell(message)
    raise SystemExit(2)
