"""The files of the tree as the house tests see them, and what a finding looks like."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("agent", "fleet", "simulator")
CODE: Final = (*PACKAGES, "tests", "benchmarks")
FOLDERS: Final = (*CODE, "docs", "board-profiles", "scripts", "packaging", ".ci", ".github")
TEXT_SUFFIXES: Final = frozenset(
    ("", ".py", ".md", ".toml", ".sh", ".txt", ".yml", ".yaml", ".service", ".socket", ".conf")
)


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file: its path from the top of the tree, and what is in it."""

    path: str
    text: str
    tree: ast.Module

    @property
    def folder(self) -> str:
        """The top-level folder."""
        return self.path.partition("/")[0]

    @property
    def module(self) -> str:
        """The dotted name by which it is imported."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def is_test(self) -> bool:
        """Whether it is below `tests/`."""
        return self.folder == "tests"

    def walk(self) -> Iterator[ast.AST]:
        """Every node of the file."""
        return ast.walk(self.tree)

    def finding(self, node: ast.AST, sentence: str) -> str:
        """A finding at a node: place and sentence, as compilers print it."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {sentence}"


@dataclass(frozen=True, slots=True)
class Text:
    """One file of any kind, for the rules about words."""

    path: str
    text: str

    def finding(self, position: int, sentence: str) -> str:
        """A finding at a position in the text."""
        return f"{self.path}:{self.text.count(chr(10), 0, position) + 1}: {sentence}"


def parse(path: str, text: str) -> Source:
    """A file from its text, for the tree and for seeded examples alike."""
    return Source(path=path, text=text, tree=ast.parse(text, path))


@cache
def sources() -> tuple[Source, ...]:
    """Every Python file of the project."""
    return tuple(
        parse(text.path, text.text)
        for text in texts()
        if text.path.endswith(".py") and text.path.partition("/")[0] in CODE
    )


@cache
def texts() -> tuple[Text, ...]:
    """Every text file of the project; without asking git, so that a release archive has them too."""
    paths = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        paths.extend(path for path in (ROOT / folder).rglob("*") if path.is_file())
    return tuple(
        Text(path.relative_to(ROOT).as_posix(), path.read_text())
        for path in sorted(paths)
        if path.suffix in TEXT_SUFFIXES and path.name != ".git" and "__pycache__" not in path.parts
    )


def report(findings: list[str]) -> str:
    """All findings, one a line, for the message of an assertion."""
    return "\n" + "\n".join(findings)
