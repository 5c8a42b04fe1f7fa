"""What must not be called: the world above the seams, patches in tests, work in constructors."""

import ast
from collections.abc import Iterator
from typing import Final

from tests.house.imports import imported, is_above_the_seams, is_within
from tests.house.sources import PACKAGES, Source

WORLD_MODULES: Final = (
    *("asyncio", "concurrent", "multiprocessing", "queue", "sched", "threading"),
    *("fcntl", "glob", "io.open", "mmap", "os", "pathlib.Path", "shutil", "tempfile"),
    *("getpass", "platform", "pwd", "signal", "subprocess", "sys.argv", "sys.stdin"),
    *("random", "secrets", "time", "uuid", "zoneinfo"),
    *("http", "paho", "requests", "select", "selectors", "socket", "ssl", "urllib.request"),
    *("importlib", "sqlite3", "urllib3"),
)
"""Modules, or single names of modules, through which code reaches the world."""

WORLD_CALLS: Final = frozenset(("open", "input", "print", "exec", "eval", "__import__"))
WORLD_METHODS: Final = frozenset(("read_text", "write_text", "read_bytes", "write_bytes"))
CLOCK_METHODS: Final = frozenset(("now", "utcnow", "today", "fromtimestamp"))
PATCHES: Final = ("mock", "pytest_mock", "unittest.mock", "pytest.MonkeyPatch")
PATCH_FIXTURES: Final = frozenset(("monkeypatch", "mocker", "class_mocker", "module_mocker"))
SKIPS: Final = frozenset(("skip", "skipif", "importorskip", "xfail"))
SEAMS: Final = frozenset(
    ("BlockDevice", "BootControl", "Broker", "ByteStream", "Clock", "Files", "Random")
) | {"Repository", "Scratch", "Storage", "System", "World"}


def dotted(node: ast.expr) -> str:
    """`a.b.c` as text; empty for what is not a plain chain of names."""
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            return f"{dotted(node.value)}.{node.attr}"
        case _:
            return ""


def calls(node: ast.AST) -> Iterator[ast.Call]:
    """Every call inside a node."""
    return (inner for inner in ast.walk(node) if isinstance(inner, ast.Call))


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file."""
    for node in source.walk():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    """All named arguments of a function."""
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def world_above_the_seams(source: Source) -> list[str]:
    """Files, sockets, programs, clocks, chance and threads where only seams may be used."""
    if not is_above_the_seams(source):
        return []
    found = [
        source.finding(node, f"{name} above the seams; use agent/interfaces.py")
        for node, name in imported(source)
        if any(is_within(name, module) for module in WORLD_MODULES)
    ]
    for call in calls(source.tree):
        name = dotted(call.func)
        owner, _, method = name.rpartition(".")
        if (
            name in WORLD_CALLS
            or method in WORLD_METHODS
            or (method in CLOCK_METHODS and owner.rpartition(".")[2] in ("datetime", "date"))
        ):
            found.append(source.finding(call, f"{name}() above the seams"))
    found.extend(
        source.finding(node, f"{dotted(node)} above the seams")
        for node in source.walk()
        if isinstance(node, ast.Attribute)
        and dotted(node) in ("os.environ", "sys.argv", "sys.stdin", "pathlib.Path", "io.open")
    )
    return found


def patches(source: Source) -> list[str]:
    """Anything that swaps a part of the program behind its back, or leaves a test out."""
    if not source.is_test:
        return []
    found = [
        source.finding(node, f"{name}: a test that must patch lacks a seam")
        for node, name in imported(source)
        if any(is_within(name, module) for module in PATCHES)
    ]
    found.extend(
        source.finding(node, f"{name}: a test runs and passes, or it fails")
        for node, name in imported(source)
        if name.startswith("pytest.") and name.rpartition(".")[2] in SKIPS
    )
    for function in functions(source):
        found.extend(
            source.finding(argument, f"{argument.arg}: a test that must patch lacks a seam")
            for argument in arguments(function)
            if argument.arg in PATCH_FIXTURES
        )
    for node in source.walk():
        if not isinstance(node, ast.Attribute):
            continue
        name = dotted(node)
        if name == "pytest.MonkeyPatch":
            found.append(source.finding(node, f"{name}: a test that must patch lacks a seam"))
        if name.startswith("pytest.") and node.attr in SKIPS:
            found.append(source.finding(node, f"{name}: a test runs and passes, or it fails"))
    return found


def work_in_constructors(source: Source) -> list[str]:
    """Constructors that open things, or call a seam that they were given."""
    if source.folder not in PACKAGES:
        return []
    found = []
    for function in functions(source):
        if function.name not in ("__init__", "__post_init__"):
            continue
        seams = {
            argument.arg
            for argument in arguments(function)
            if argument.annotation is not None
            and dotted(argument.annotation).rpartition(".")[2] in SEAMS
        }
        for call in calls(function):
            name = dotted(call.func)
            owner, _, method = name.rpartition(".")
            if name == "open" or method in WORLD_METHODS or owner.partition(".")[0] in seams:
                found.append(source.finding(call, f"a constructor does nothing, this calls {name}"))
    return found


def work_at_import(source: Source) -> list[str]:
    """Statements at module level that do something: calls, loops, and blocks other than imports."""
    if source.folder not in PACKAGES:
        return []
    found = []
    for node in source.tree.body:
        match node:
            case ast.Expr(value=ast.Constant()):
                pass
            case ast.Expr() | ast.For() | ast.While() | ast.With():
                found.append(source.finding(node, "nothing happens at import"))
            case ast.Assign() | ast.AnnAssign():
                found.extend(
                    source.finding(call, f"{dotted(call.func)}() at import")
                    for call in calls(node)
                    if dotted(call.func) in ("open", "os.getenv", "os.environ.get", "import_module")
                    or dotted(call.func).rpartition(".")[2] in WORLD_METHODS
                )
            case _:
                pass
    return found
