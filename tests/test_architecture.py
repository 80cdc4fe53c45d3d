"""What keeps the repository readable, held by checks that can fail.

Each check takes the folder of a tree and returns its violations as ``place: what`` lines. It is
run twice: on a small tree with a planted violation, which it must name, and on the repository.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODULE_LINES_MAX: Final = 400
FUNCTION_LINES_MAX: Final = 60
MAKEFILE_LINES_MAX: Final = 40
PACKAGES: Final = ("fewseconds", "fixtures", "loadtests", "mock_psp", "sim")
SOURCES: Final = (*PACKAGES, "tests", "tools")
BANNED_FILES: Final = frozenset({"util.py", "utils.py", "helper.py", "helpers.py"})
# Importing any of these costs a tenth of a second or more, or patches the process.
HEAVY: Final = frozenset(
    {"cv2", "gevent", "litestar", "locust", "numba", "plotly", "polars", "pyarrow", "scipy"}
    | {"simpy", "sqlalchemy"}
)
# Written in halves, so that this file does not hold what it looks for.
REGISTRIES: Final = tuple(
    left + right
    for left, right in (
        ("py", "pi.org"),
        ("pythonho", "sted.org"),
        ("npm", "js.org"),
        ("npm", "js.com"),
        ("proxy.go", "lang.org"),
        ("crat", "es.io"),
        ("deb.deb", "ian.org"),
    )
)
MACHINE_PATH: Final = re.compile(r"(?<![\w.~:/-])/(?:root|home|work|Users|opt|mnt)/[\w.]")
DOCUMENT: Final = re.compile(r"[\w./:-]*\b[\w-]+\.md\b")

type_of_function = ast.FunctionDef | ast.AsyncFunctionDef


def tracked(root: Path) -> list[Path]:
    """Files under version control, or all files where there is none (an unpacked archive)."""
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = [root / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    else:
        paths = list(root.rglob("*"))
    return sorted(path for path in paths if path.is_file())


def modules(root: Path) -> list[Path]:
    """Every Python file of the packages, the tests and the tools."""
    return [
        path
        for path in tracked(root)
        if path.suffix == ".py" and path.relative_to(root).parts[0] in SOURCES
    ]


def functions(path: Path) -> Iterator[type_of_function]:
    """Every function and method of a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, type_of_function):
            yield node


def long_modules(root: Path) -> list[str]:
    """Modules above the ceiling."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules(root)}
    return [
        f"{path.relative_to(root)}: {length} lines; split it below {MODULE_LINES_MAX}"
        for path, length in lengths.items()
        if length > MODULE_LINES_MAX
    ]


def long_functions(root: Path) -> list[str]:
    """Functions above the ceiling, docstring included."""
    return [
        f"{path.relative_to(root)}:{node.lineno}: {node.name} has {length} lines; "
        f"split it below {FUNCTION_LINES_MAX}"
        for path in modules(root)
        for node in functions(path)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]


def banned_names(root: Path) -> list[str]:
    """Names that say nothing about what is inside."""
    found = [
        f"{path.relative_to(root)}: name the file after what it holds"
        for path in modules(root)
        if path.name in BANNED_FILES
    ]
    for path in modules(root):
        found += [
            f"{path.relative_to(root)}:{node.lineno}: {node.name}: name the class after what it is"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ClassDef) and node.name.endswith("Manager")
        ]
    return found


def undescribed_tests(root: Path) -> list[str]:
    """Tests whose docstring is not one declarative sentence."""
    return [
        f"{path.relative_to(root)}:{node.lineno}: {node.name}: state the fact in one sentence"
        for path in modules(root)
        if path.name.startswith("test_")
        for node in functions(path)
        if node.name.startswith("test_") and not is_one_sentence(ast.get_docstring(node) or "")
    ]


def is_one_sentence(text: str) -> bool:
    """Whether a text is one sentence that states something, rather than announcing a test."""
    flat = " ".join(text.split())
    announcing = re.match(r"(?i)(test|check|verify|ensure|should|make sure)\b", flat)
    return flat.endswith(".") and not announcing and not re.search(r"[.!?] [A-Z]", flat)


def heavy_imports(root: Path) -> list[str]:
    """Heavy libraries that are loaded by importing the command line, before any command."""
    asked = "import json, sys, fewseconds.cli; print(json.dumps([*sys.modules]))"
    loaded = subprocess.run(
        [sys.executable, "-c", asked], cwd=root, capture_output=True, text=True, check=False
    )
    if loaded.returncode != 0:
        return [f"fewseconds.cli: cannot be imported: {loaded.stderr.strip().splitlines()[-1]}"]
    return [
        f"fewseconds.cli: loads {name}; import it in the command that needs it"
        for name in sorted(HEAVY & set(json.loads(loaded.stdout)))
    ]


def foreign_addresses(root: Path) -> list[str]:
    """Host names of package registries and paths of somebody's machine in tracked files."""
    found = []
    for path in tracked(root):
        lines = path.read_text(encoding="utf-8", errors="ignore").splitlines()
        for number, line in enumerate(lines, 1):
            words = [host for host in REGISTRIES if host in line]
            words += [match[0] for match in MACHINE_PATH.finditer(line)]
            found += [f"{path.relative_to(root)}:{number}: {word}; take it out" for word in words]
    return found


def missing_documents(root: Path) -> list[str]:
    """Documents that are mentioned by name and are not in the repository."""
    texts = [path for path in tracked(root) if path.suffix in {".md", ".py", ".toml", ".yml"}]
    there = {path.name for path in tracked(root)}
    return [
        f"{path.relative_to(root)}: {name}; write it, or do not mention it"
        for path in texts
        if path.name != Path(__file__).name
        for name in DOCUMENT.findall(path.read_text(encoding="utf-8"))
        if "://" not in name and name.rsplit("/", 1)[-1] not in there
    ]


def makefile_logic(root: Path) -> list[str]:
    """Whatever makes the Makefile more than a menu."""
    lines = (root / "Makefile").read_text(encoding="utf-8").splitlines()
    found = [f"Makefile:{MAKEFILE_LINES_MAX + 1}: too long"] * (len(lines) > MAKEFILE_LINES_MAX)
    logic = re.compile(
        r"^\s*(ifn?(eq|def)|define|foreach)\b|\$\((shell|if|call|eval|foreach) |&&|\|\|"
    )
    return found + [
        f"Makefile:{number}: {line.strip()}; a script does that"
        for number, line in enumerate(lines, 1)
        if logic.search(line)
    ]


def unlocked(root: Path) -> list[str]:
    """Dependencies without an exact version, without a hash, or not in the lock at all."""
    text = (root / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^[^#\s].*$", text.replace("\\\n", " "), re.MULTILINE)
    found = [
        f"requirements.lock: {pin.split()[0]}; pin it with == and a hash"
        for pin in pins
        if not re.match(r"[a-z0-9-]+==\S+ ", pin) or "--hash=sha256:" not in pin
    ]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(item for extra in extras for item in extra)]
    # An extra may ask for another one of our own by name.
    names = {pin.split("==")[0] for pin in pins} | {project.get("name")}
    return found + [
        f"pyproject.toml: {name} is not in requirements.lock; write the lock anew"
        for name in (re.split(r"[^\w-]", item)[0] for item in wanted)
        if name not in names
    ]


def unlayered(root: Path) -> list[str]:
    """Modules of ``fewseconds`` that no layer of the import contract names."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    layered = {
        name.strip(" ()") for layer in contract["layers"] for name in re.split(r"[|:]", layer)
    }
    children = {
        f"fewseconds.{path.relative_to(root).parts[1].removesuffix('.py')}"
        for path in modules(root)
        if path.relative_to(root).parts[0] == "fewseconds" and path.name != "__init__.py"
    }
    return [
        f"{name}: in no layer; give it one in pyproject.toml, tool.importlinter"
        for name in sorted(children - layered)
    ]


LONG_FUNCTION = "def f():\n" + "    pass\n" * FUNCTION_LINES_MAX
PROJECT = '[project]\ndependencies = ["rich", "typer>=1"]\noptional-dependencies = { dev = [] }\n'
LAYERS = '[[tool.importlinter.contracts]]\nlayers = ["(fewseconds.cli) : fewseconds.run"]\n'
RULES: list[tuple[Callable[[Path], list[str]], dict[str, str], list[str]]] = [
    # The check; a tree that breaks its rule; where it has to say so.
    (
        long_modules,
        {"sim/a.py": "\n" * 401, "sim/b.py": "\n" * 400},
        ["sim/a.py"],
    ),
    (
        long_functions,
        {"sim/a.py": LONG_FUNCTION, "sim/b.py": "class A:\n  async " + LONG_FUNCTION[:300]},
        ["sim/a.py:1"],
    ),
    (
        banned_names,
        {"sim/utils.py": "", "sim/stations.py": "class StationManager: ...\n"},
        ["sim/utils.py", "sim/stations.py:1"],
    ),
    (
        undescribed_tests,
        {
            "tests/sim/test_a.py": "def test_a(): ...\n"
            'def test_b():\n    """Test the queue."""\n'
            'def test_c():\n    """A queue holds ten. It is first in, first out."""\n'
            'def test_d():\n    """A queue of 1.5 seconds holds ten, e.g. cars."""\n'
        },
        ["tests/sim/test_a.py:1", "tests/sim/test_a.py:2", "tests/sim/test_a.py:4"],
    ),
    (
        heavy_imports,
        {"fewseconds/__init__.py": "", "fewseconds/cli.py": "import json, simpy\n"},
        ["fewseconds.cli"],
    ),
    (
        foreign_addresses,
        {
            "a.lock": f"--index-url https://{REGISTRIES[0]}/simple\n",
            "b.py": 'X = "' + "/home" + "/me/x" + '"\nY = "results/home/x"\n',
        },
        ["a.lock:1", "b.py:1"],
    ),
    (
        missing_documents,
        {"README.md": "See docs/GONE.md, README.md and https://example.org/OTHER.md.\n"},
        ["README.md"],
    ),
    (
        makefile_logic,
        {"Makefile": "ifeq (a,b)\nX = $(shell ls)\na:\n\ttrue && false\n" + "#\n" * 37},
        ["Makefile:41", "Makefile:1", "Makefile:2", "Makefile:4"],
    ),
    (
        unlocked,
        {
            "pyproject.toml": PROJECT,
            "requirements.lock": "rich==1.0 \\\n    --hash=sha256:0\nclick==2.0\n    # via x\n",
        },
        ["requirements.lock", "pyproject.toml"],
    ),
    (
        unlayered,
        {"pyproject.toml": LAYERS, "fewseconds/cli.py": "", "fewseconds/stray.py": ""},
        ["fewseconds.stray"],
    ),
]
NAMES = [check.__name__ for check, _, _ in RULES]


@pytest.mark.parametrize(("check", "tree", "places"), RULES, ids=NAMES)
def test_a_planted_violation_is_found(
    check: Callable[[Path], list[str]], tree: dict[str, str], places: list[str], tmp_path: Path
) -> None:
    """Each check names the planted violations, and nothing else in their tree."""
    for name, content in tree.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    found = check(tmp_path)
    assert len(found) == len(places)
    assert all(said.startswith(f"{place}: ") for said, place in zip(found, places, strict=True))


@pytest.mark.parametrize("check", [check for check, _, _ in RULES], ids=NAMES)
def test_the_repository_keeps_the_rule(
    check: Callable[[Path], list[str]], repository: Path
) -> None:
    """The repository has no violation of any rule that a check stands for."""
    assert check(repository) == []
