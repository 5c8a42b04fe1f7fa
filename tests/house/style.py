"""Rules of form: module docstrings, bounded loops, narrow excepts, closed matches."""

import ast
from typing import Final

from tests.house.calls import calls, dotted
from tests.house.imports import imported
from tests.house.sources import Source

SERVICE_LOOPS: Final = frozenset(
    ("agent/service.py", "fleet/collect.py", "fleet/commands/collect.py", "fleet/commands/serve.py")
)
"""Where a process lives until it is told to stop."""

BUILT_IN: Final = frozenset(("int", "str", "bytes", "bool", "dict", "list", "tuple", "float"))
"""Like exceptions and syntax trees, sets that nobody can close."""


def missing_docstring(source: Source) -> list[str]:
    """A module that does not say why it exists; pytest's own files say it with their names."""
    if source.is_test and source.path.rpartition("/")[2].startswith(("test_", "conftest.")):
        return []
    if ast.get_docstring(source.tree):
        return []
    return [f"{source.path}:1: a docstring that says why the module exists was expected"]


def endless_loops(source: Source) -> list[str]:
    """Loops without a bound outside the loops that are a service."""
    if source.path in SERVICE_LOOPS:
        return []
    found = [
        source.finding(node, "a loop has a bound; only a service runs for ever")
        for node in source.walk()
        if isinstance(node, ast.While)
        and isinstance(node.test, ast.Constant)
        and bool(node.test.value)
    ]
    found.extend(
        source.finding(node, "a loop over itertools.count() has no bound")
        for node in source.walk()
        if isinstance(node, ast.For)
        and any(dotted(call.func) in ("count", "itertools.count") for call in calls(node.iter))
        and any(name in ("itertools", "itertools.count") for _, name in imported(source))
        and not any(dotted(call.func) == "zip" for call in calls(node.iter))
    )
    return found


def broad_excepts(source: Source) -> list[str]:
    """Handlers that swallow our own mistakes too; cleaning up and raising again is no such handler."""
    found = []
    for node in source.walk():
        match node:
            case ast.ExceptHandler(body=[*_, ast.Raise(exc=None)]):
                pass
            case ast.ExceptHandler(type=None):
                found.append(source.finding(node, "name the exceptions that are expected here"))
            case ast.ExceptHandler(type=ast.Tuple(elts=kinds)):
                found.extend(_broad(source, kinds))
            case ast.ExceptHandler(type=ast.expr() as kind):
                found.extend(_broad(source, [kind]))
            case ast.Call(func=function, args=kinds) if dotted(function).endswith("suppress"):
                found.extend(_broad(source, kinds))
            case _:
                pass
    return found


def _broad(source: Source, kinds: list[ast.expr]) -> list[str]:
    return [
        source.finding(kind, f"{dotted(kind)} is broad; name what is expected here")
        for kind in kinds
        if dotted(kind) in ("Exception", "BaseException")
    ]


def open_matches(source: Source) -> list[str]:
    """A `match` over an enum or a union whose forgotten member would fall through in silence.

    Closed are: a last arm that calls `assert_never` or raises; and arms that all return or raise, of
    which mypy proves that none is missing.
    """
    return [
        source.finding(node, "end with `case never: assert_never(never)`")
        for node in source.walk()
        if isinstance(node, ast.Match) and _is_over_closed_set(node) and not _is_closed(node)
    ]


def _is_over_closed_set(node: ast.Match) -> bool:
    patterns = [
        pattern
        for case in node.cases
        for pattern in (
            case.pattern.patterns if isinstance(case.pattern, ast.MatchOr) else [case.pattern]
        )
    ]
    return all(_is_member(pattern) or _is_wildcard(pattern) for pattern in patterns) and any(
        _is_member(pattern) for pattern in patterns
    )


def _is_member(pattern: ast.pattern) -> bool:
    match pattern:
        case ast.MatchValue(value=ast.Attribute(value=owner)):
            return dotted(owner).rpartition(".")[2][:1].isupper()  # a class, not a module
        case ast.MatchClass(cls=kind):
            name = dotted(kind)
            is_open = name in BUILT_IN or name.endswith(("Error", "Exception"))
            return not is_open and not name.startswith("ast.")
        case _:
            return False


def _is_wildcard(pattern: ast.pattern) -> bool:
    return isinstance(pattern, ast.MatchAs) and pattern.pattern is None


def _is_closed(node: ast.Match) -> bool:
    last = node.cases[-1]
    if _is_wildcard(last.pattern):
        return isinstance(last.body[-1], ast.Raise) or any(
            dotted(call.func) in ("assert_never", "typing.assert_never")
            for statement in last.body
            for call in calls(statement)
        )
    return all(isinstance(case.body[-1], ast.Return | ast.Raise) for case in node.cases)
