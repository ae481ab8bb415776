"""The house rules that a reader relies on: layers, fences, sizes, names and imports without effect."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "sottovoce"
BIN = Path(sys.executable).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

MAX_LINES = 450
MAX_BODY = 60
MAX_PARAMETERS = 9
EMPTY_NAMES = {"util", "utils", "common", "core", "misc", "base_class", "manager", "helpers"}

# Vendor -> the only files or folders under src/sottovoce that may import it.
FENCES: dict[str, tuple[str, ...]] = {
    "transformers": ("model",),
    "tokenizers": ("model",),
    "bitsandbytes": ("model",),
    "datasets": ("data",),
    "pyarrow": ("data",),
    "peft": (),
    "dp_accounting": ("privacy/accounting.py",),
    "opacus": (),
    "cryptography": ("rng.py", "codec", "run/certs.py", "run/enrol.py"),
    "flwr": ("run/flower",),
    "fastapi": ("run/flower", "serve"),
    "uvicorn": ("run/flower", "serve"),
    "starlette": ("run/flower", "serve"),
    "llguidance": ("serve",),
    "tenseal": ("codec/he.py",),
    "zstandard": ("codec/he.py",),
    "presidio_analyzer": ("data/pii/presidio.py",),
    "presidio_anonymizer": (),
    "spacy": (),
    "phonenumbers": ("data/pii/phones.py",),
    "faker": (),
    "typer": ("cli.py", "serve/commands.py"),
    "click": ("cli.py",),
}

WITHOUT_TORCH = (
    "data",
    "codec",
    "strategies",
    "update",
    "rng",
    "errors",
    "run/helper_",
    "run/ledger",
    "run/rounds",
)


def inside(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parsed() -> Iterator[tuple[str, ast.Module]]:
    for path in SOURCES:
        yield inside(path), ast.parse(path.read_text(encoding="utf-8"))


def imported_vendors(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module.partition(".")[0]


def python(code: str, *arguments: str) -> str:
    """Run code in a fresh interpreter that sees no variable of this one but the needed ones."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**keep, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def tracked_texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout: the list of tracked files is unknown")
    for name in filter(None, listed.stdout.split("\0")):
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue


# --- layers and fences ---------------------------------------------------------------------------


def test_import_contracts_hold() -> None:
    done = subprocess.run(
        [BIN / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_vendors_stay_behind_their_fences() -> None:
    offences = [
        f"{name}:{line} imports {vendor}"
        for name, tree in parsed()
        for line, vendor in imported_vendors(tree)
        if vendor in FENCES and not name.startswith(FENCES[vendor] or ("\0",))
    ]
    assert offences == []


def test_modules_that_need_no_torch_do_not_load_it() -> None:
    modules = [module_name(p) for p in SOURCES if inside(p).startswith(WITHOUT_TORCH)]
    assert "sottovoce.update" in modules
    code = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    if "torch" in sys.modules or "transformers" in sys.modules:
        sys.exit(f"importing {name} loads torch or transformers")
"""
    python(code, *modules)


def test_importing_has_no_effect() -> None:
    vendors = sorted({vendor for _, tree in parsed() for _, vendor in imported_vendors(tree)})
    code = """
import importlib, json, logging, os, random, signal, sys, threading, warnings
modules, vendors = map(json.loads, sys.argv[1:])
for vendor in vendors:  # so that whatever a vendor does at import is not blamed on this package
    try:
        importlib.import_module(vendor)
    except ImportError:
        pass
import numpy, torch

def world():
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "search path": list(sys.path),
        "log handlers": list(map(str, logging.root.handlers)),
        "log level": logging.root.level,
        "random": str(random.getstate()),
        "numpy random": str(numpy.random.get_state(legacy=False)),
        "torch random": torch.get_rng_state().tolist(),
        "torch dtype": str(torch.get_default_dtype()),
        "torch threads": torch.get_num_threads(),
        "torch gradients": torch.is_grad_enabled(),
        "torch deterministic": torch.are_deterministic_algorithms_enabled(),
        "warnings shown": str(warnings.showwarning),
        "interrupt": str(signal.getsignal(signal.SIGINT)),
        "threads": threading.active_count(),
    }

before = world()
for module in modules:
    importlib.import_module(module)
    after = world()
    changed = [name for name in before if before[name] != after[name]]
    if changed:
        sys.exit(f"importing {module} changed: {', '.join(changed)}")
print("quiet")
"""
    modules = [module_name(path) for path in SOURCES]
    foreign = [vendor for vendor in vendors if vendor != "sottovoce"]
    output = python(code, json.dumps(modules), json.dumps(foreign))
    assert output == "quiet\n", "something was printed at import"


# --- the command line starts fast ----------------------------------------------------------------


def test_help_loads_no_torch() -> None:
    code = """
import sys
from sottovoce.cli import main
sys.argv = ["sotto", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
for vendor in ("torch", "transformers", "matplotlib"):
    assert vendor not in sys.modules, vendor
"""
    assert "Usage" in python(code)


def cpu_seconds(*command: str | Path) -> float:
    """What a command computes, however long others keep it waiting."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_is_fast() -> None:
    cpu_seconds(BIN / "sotto", "--help")
    assert statistics.median(cpu_seconds(BIN / "sotto", "--help") for _ in range(5)) < 0.4


# --- sizes and names -----------------------------------------------------------------------------


def test_files_have_one_subject() -> None:
    long = {
        inside(path): count
        for path in SOURCES
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert long == {}


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    body = node.body[1:] if documented else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_functions_do_one_thing() -> None:
    offences = []
    for name, tree in parsed():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                where = f"{name}:{node.lineno} {node.name}"
                if body_lines(node) > MAX_BODY:
                    offences.append(f"{where}: {body_lines(node)} lines of body")
                parameters = len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs)
                # The commands' options are parameters only because typer reads them so.
                if parameters > MAX_PARAMETERS and name not in ("cli.py", "serve/commands.py"):
                    offences.append(f"{where}: {parameters} parameters")
    assert offences == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    folders = [PACKAGE, ROOT / "tests", ROOT / "scripts", ROOT / "benchmarks"]
    found = [p for folder in folders for p in folder.rglob("*.py") if p.stem in EMPTY_NAMES]
    found += [p for p in PACKAGE.rglob("*") if p.is_dir() and p.name in EMPTY_NAMES]
    assert found == []


# --- what the source may not contain -------------------------------------------------------------


def offence(node: ast.AST) -> str | None:
    match node:
        case ast.Assert():
            return "assert vanishes under -O; raise from errors.py"
        case ast.Call(func=ast.Name(id="print")):
            return "only cli.py prints"
        case ast.Name(id="NotImplementedError"):
            return "not implemented"
        case ast.ExceptHandler(body=[ast.Pass()]):
            return "an error swallowed in silence"
        case ast.ImportFrom(level=level) if level:
            return "relative import"
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="np"), attr="random"), attr=attr):
            allowed = attr in {"Generator", "Philox"}
            return None if allowed else "randomness comes from rng.stream"
        case ast.Import(names=names) if any(alias.name in {"random", "pickle"} for alias in names):
            return "neither the global generator nor pickles"
    return None


def test_source_keeps_the_rules() -> None:
    offences = [
        f"{name}:{getattr(node, 'lineno', 0)}: {why}"
        for name, tree in parsed()
        for node in ast.walk(tree)
        if (why := offence(node)) and not (name == "cli.py" and why == "only cli.py prints")
    ]
    assert offences == []


@pytest.mark.parametrize(
    "code",
    [
        "assert x",
        "print(1)",
        "raise NotImplementedError",
        "try:\n    f()\nexcept ValueError:\n    pass",
        "from . import rng",
        "np.random.seed(0)",
        "np.random.default_rng()",
        "import random",
        "import pickle",
    ],
)
def test_the_rules_can_see_an_offence(code: str) -> None:
    assert any(offence(node) for node in ast.walk(ast.parse(code)))


ABSOLUTE = re.compile(r"(?<![\w.:/~)}-])/(?:home|root|work|Users|opt|mnt|srv|private|tmp)/\w")
REGISTRY = re.compile(r"pypi\.org|pythonhosted\.org|pytorch\.org|anaconda\.org|huggingface\.co")
UNFINISHED = re.compile(r"#.*\b(?:TO" + r"DO|FIX" + r"ME|X{3}|HA" + r"CK)\b")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [(ABSOLUTE, "absolute path"), (REGISTRY, "registry host"), (UNFINISHED, "unfinished")],
    ids=["absolute-path", "registry-host", "unfinished"],
)
def test_no_text_of_the_repository_has_a(pattern: re.Pattern[str], why: str) -> None:
    offences = [
        f"{name}:{text.count(chr(10), 0, found.start()) + 1}: {why}: {found.group()}"
        for name, text in tracked_texts()
        for found in pattern.finditer(text)
    ]
    assert offences == []


def test_the_patterns_can_see_an_offence() -> None:
    assert ABSOLUTE.search("open('/" + "home/someone/x')")
    assert not ABSOLUTE.search("../shared/data and https://example.org/" + "home/x")
    assert REGISTRY.search("index = https://pypi" + ".org/simple")
    assert UNFINISHED.search("x = 1  # TO" + "DO later")


# --- what is public ------------------------------------------------------------------------------


def test_public_names_are_what_can_be_imported_and_each_is_documented() -> None:
    package = importlib.import_module("sottovoce")
    names = list(getattr(package, "__all__", []))
    visible = [
        name
        for name in dir(package)
        if not name.startswith("_")
        and not isinstance(getattr(package, name), types.ModuleType)
        and name != "annotations"
    ]
    assert sorted(names) == names, "sort __all__"
    assert sorted(visible) == sorted(name for name in names if not name.startswith("_"))
    map_text = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    for name in names:
        assert getattr(package, name).__doc__, f"{name} has no docstring"
        assert name.startswith("_") or f"`{name}`" in map_text, f"docs/map.md does not name {name}"


# --- the map -------------------------------------------------------------------------------------


def mapped(section: str) -> dict[str, str]:
    """The lines of one section of docs/map.md: path to description."""
    text = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    body = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^- `([^`]+)`: (.+)$", body, flags=re.MULTILINE))


def says_something(path: Path) -> bool:
    """Whether a file holds more than nothing, or than a package's docstring."""
    if path.name == "__init__.py":
        body = ast.parse(path.read_text(encoding="utf-8")).body
        return any(not isinstance(node, ast.Expr) for node in body)
    return path.stat().st_size > 0 and "__pycache__" not in path.parts


def test_the_map_lists_every_file_of_the_package_and_no_other() -> None:
    files = {inside(path) for path in PACKAGE.rglob("*") if path.is_file() and says_something(path)}
    listed = set(mapped("src/sottovoce"))
    folders = tuple(path for path in listed if path.endswith("/"))
    data = {name for name in files if name.startswith(folders) and not name.endswith(".py")}
    assert files - listed - data == set(), "files that docs/map.md does not list"
    assert listed - files - set(folders) == set(), "lines of docs/map.md without a file"
    assert [folder for folder in folders if not (PACKAGE / folder).is_dir()] == []


_LISTED = {"docs": "*.md", "scripts": "*.py", "benchmarks": "*.py", "examples": "*.toml"}


def test_the_map_of_the_surroundings_points_at_what_exists() -> None:
    around = mapped("Around the package")
    assert around
    assert [path for path in around if not (ROOT / path).exists()] == []
    for folder, pattern in _LISTED.items():
        for path in (ROOT / folder).rglob(pattern):
            relative = path.relative_to(ROOT).as_posix()
            if relative == "docs/map.md":
                continue
            parents = {f"{parent.as_posix()}/" for parent in Path(relative).parents}
            assert relative in around or parents & set(around) - {f"{folder}/"}, (
                f"docs/map.md does not list {relative}"
            )
