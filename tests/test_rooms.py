"""The rooms of the package: who imports whom, what importing costs, and who may print."""

import ast
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import hotfit

PACKAGE = Path(hotfit.__file__).parent
TREES = {
    ".".join(["hotfit", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(
        ".__init__"
    ): ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(node, modules):
    """Full names of what an import statement imports: modules of hotfit, or top-level packages."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports in hotfit are absolute"
        inner = [f"{node.module}.{alias.name}" for alias in node.names]
        names = [name if name in modules else node.module for name in inner]
    else:
        return set()
    return {name if name.split(".")[0] == "hotfit" else name.split(".")[0] for name in names}


def at_import(body):
    """Yield the statements that run when a module is imported: no bodies of functions."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from at_import(node.orelse)
            continue
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for block in ("body", "orelse", "finalbody"):
            yield from at_import(getattr(node, block, []))
        for handler in getattr(node, "handlers", []):
            yield from at_import(handler.body)


def graph_of(trees):
    """What every module imports of the package while it is itself imported."""
    edges = {name: set() for name in trees}
    for name, tree in trees.items():
        for node in at_import(tree.body):
            edges[name] |= imported(node, trees) & set(trees)
    return edges


def importers(target, trees=TREES):
    """Modules with an import of `target` anywhere, functions included."""
    return {
        name for name, tree in trees.items() for node in ast.walk(tree) if target in imported(node, trees)
    }


def prints(tree):
    """Yield the outermost function around every call of print: its name, or None."""
    for statement in tree.body:
        calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
        if any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls):
            yield getattr(statement, "name", None)


def modules_after(code):
    """Names in sys.modules of a fresh interpreter after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


# --- the source


@pytest.mark.parametrize(
    ("target", "rooms"),
    [
        ("numba", {"hotfit.jit"}),
        ("matplotlib", {"hotfit.drawing", "hotfit.plots", "hotfit.closeups"}),
        ("dask", {"hotfit.dasked", "hotfit.tasks", "hotfit.cluster"}),
        ("distributed", {"hotfit.tasks", "hotfit.cluster", "hotfit.worker"}),
        ("tqdm", {"hotfit.console"}),
        ("hotfit.cli", {"hotfit.__main__"}),
        ("hotfit.__main__", set()),
    ],
)
def test_only_these_rooms_import(target, rooms):
    assert importers(target) <= rooms
    if target in ("numba", "hotfit.cli"):
        assert importers(target) == rooms


def test_rooms_form_no_cycle():
    graph = graph_of(TREES)
    assert graph["hotfit.fit"] >= {"hotfit.bands", "hotfit.darks", "hotfit.flags"}
    assert graph["hotfit.bands"] >= {"hotfit.design"}
    assert graph["hotfit.tasks"] >= {"hotfit.design", "hotfit.dasked"}
    assert graph["hotfit.design"] >= {"hotfit.kernels", "hotfit.calibrate"}
    list(TopologicalSorter(graph).static_order())  # CycleError names the rooms


def test_a_cycle_would_be_seen():
    sources = {
        "hotfit": "",
        "hotfit.a": "import os\nfrom hotfit import b",
        "hotfit.b": "try:\n    import hotfit.c\nexcept OSError:\n    pass",
        "hotfit.c": "def f():\n    from hotfit.a import x",
    }
    trees = {name: ast.parse(text) for name, text in sources.items()}
    assert graph_of(trees)["hotfit.a"] == {"hotfit.b"}
    assert importers("hotfit.a", trees) == {"hotfit.c"}
    list(TopologicalSorter(graph_of(trees)).static_order())
    trees["hotfit.c"] = ast.parse("from hotfit.a import x")
    with pytest.raises(CycleError):
        list(TopologicalSorter(graph_of(trees)).static_order())


@pytest.mark.parametrize("name", TREES)
def test_every_room_says_what_it_is(name):
    assert (ast.get_docstring(TREES[name]) or "").strip()


@pytest.mark.parametrize("name", sorted(set(TREES) - {"hotfit.console"}))
def test_only_the_console_prints(name):
    assert set(prints(TREES[name])) <= ({"main"} if name == "hotfit.simulate" else set())


def test_a_print_would_be_seen():
    tree = ast.parse("class A:\n    def f(self):\n        return [print(1)]\nprint(2)\nx = 'print(3)'")
    assert list(prints(tree)) == ["A", None]


# --- what is imported in fact


HEAVY = {"numpy", "numba", "astropy", "scipy", "ccdproc", "matplotlib", "dask"}


def test_importing_hotfit_costs_nothing():
    assert not modules_after("import hotfit") & HEAVY
    assert not modules_after("import hotfit; hotfit.HotfitError, hotfit.__version__, dir(hotfit)") & HEAVY


def test_the_api_itself_needs_neither_ccdproc_nor_matplotlib():
    loaded = modules_after("import hotfit, hotfit.report; hotfit.fit_darks, hotfit.DarkFit, hotfit.read")
    assert "numba" in loaded
    assert not loaded & {"ccdproc", "matplotlib", "tqdm", "dask", "distributed"}


def test_flags_need_no_numba():
    loaded = modules_after("import hotfit; hotfit.DQ")
    assert "hotfit.flags" in loaded
    assert not loaded & {"numba", "astropy"}


def test_all_resolves_and_is_listed():
    assert len(set(hotfit.__all__)) == len(hotfit.__all__)
    for name in hotfit.__all__:
        assert getattr(hotfit, name) is not None
        assert name in dir(hotfit)
    assert {"fit_darks", "fit_cube", "DarkFit", "DQ", "HotfitError", "simulate"} <= set(hotfit.__all__)
    assert callable(hotfit.simulate.darks)
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = hotfit.no_such_thing


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_loads_neither_numpy_nor_numba(option):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "hotfit", option],
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip() for line in lines}
    assert done.returncode == 0, done.stderr.splitlines()[-1]
    assert done.stderr.splitlines() == lines
    assert "hotfit.cli" in loaded
    assert not loaded & HEAVY
    assert ("usage" in done.stdout) if option == "--help" else (hotfit.__version__ in done.stdout)


def test_console_script_is_the_command_line():
    pyproject = PACKAGE.parent / "pyproject.toml"
    if not pyproject.exists():
        pytest.skip("not a checkout")
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"hotfit": "hotfit.cli:command"}
