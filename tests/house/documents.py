"""What the documents claim, against what the tree says."""

import ast
import re
import tomllib
from typing import Final

from agent.errors import UpdateError
from tests.house.sources import Source, Text

ROW: Final = re.compile(r"^\|(.+)\|\s*$", re.MULTILINE)
LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
MAKE: Final = re.compile(r"\bmake((?: [a-z][a-z-]*)+)(?= *(?:$|#|`|[A-Z]+=))", re.MULTILINE)
CODE_BLOCK: Final = re.compile(r"```[^\n]*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
ARROW: Final = re.compile(r"^ *(\w+) --> (\w+): ([\w-]+)$", re.MULTILINE)
TARGET: Final = re.compile(r"^([a-z][a-z-]*):(?!=)", re.MULTILINE)
DECISION_FILE: Final = re.compile(r"docs/decisions/(\d{4})-[a-z0-9-]+\.md")
DECISION_PARTS: Final = ("Context", "Decision", "Consequences")
DOCUMENT: Final = re.compile(r"\bdocs/[\w/.-]+\.md\b")
REQUIREMENT: Final = re.compile(r"[A-Za-z0-9._-]+")
PLAIN_STATUSES: Final = frozenset((0, 1, 2, 3, 4, 130))
"""Exit statuses that belong to no class of error."""


def rows(markdown: str) -> list[tuple[str, ...]]:
    """The cells of every table row, without headers' rules and without code marks."""
    cells = [
        tuple(cell.strip().strip("`") for cell in row.split("|")) for row in ROW.findall(markdown)
    ]
    return [row for row in cells if not set("".join(row)) <= set("-: ")]


def sections(markdown: str) -> dict[str, str]:
    """The text below each heading of the second level, by its title."""
    parts = re.split(r"^## (.+)$", markdown, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def error_classes(root: type[UpdateError] = UpdateError) -> list[type[UpdateError]]:
    """The root and every class below it that `agent/errors.py` defines."""
    found = [root] if root.__module__ == "agent.errors" else []
    for kind in root.__subclasses__():
        found.extend(error_classes(kind))
    return found


def error_rows(markdown: str) -> set[tuple[str, str, str]]:
    """Code, exit status and retry of each row of the error table in `docs/exit-codes.md`."""
    return {(row[0], row[1], row[2]) for row in rows(sections(markdown)["Errors"])[1:]}


def plain_statuses(markdown: str) -> set[int]:
    """The statuses in the other table of `docs/exit-codes.md`."""
    return {int(row[0]) for row in rows(sections(markdown)["Other statuses"])[1:]}


def declared_dependencies(project_file: str) -> dict[str, set[str]]:
    """The names of the libraries in `pyproject.toml`, by who installs them."""
    project = tomllib.loads(project_file)["project"]
    extras = project["optional-dependencies"]
    groups = {"Device": project["dependencies"], "Operator": extras["fleet"]}
    groups |= {"Simulator": extras["simulator"], "Development": extras["dev"]}
    return {
        group: {
            name.group().lower()
            for line in requirements
            if (name := REQUIREMENT.match(line)) and name.group() != "lockgate"
        }
        for group, requirements in groups.items()
    }


def documented_dependencies(markdown: str) -> dict[str, set[str]]:
    """The names in the tables of `docs/dependencies.md`, by section."""
    return {
        title: {row[0].lower() for row in rows(text)[1:]}
        for title, text in sections(markdown).items()
        if rows(text)
    }


def drawn_transitions(markdown: str) -> set[tuple[str, str, str]]:
    """State, event and next state of each arrow in the diagram of `docs/architecture.md`."""
    return {(state, event, following) for state, following, event in ARROW.findall(markdown)}


def make_targets(makefile: str) -> set[str]:
    """The targets that a Makefile defines."""
    return set(TARGET.findall(makefile))


def unknown_targets(text: Text, makefile: str) -> list[str]:
    """`make` commands in a document's code, or in a script, that the Makefile does not know."""
    code = text.text
    if text.path.endswith(".md"):
        code = "\n".join(block or inline for block, inline in CODE_BLOCK.findall(text.text))
    return [
        f"{text.path}: the Makefile has no target {target!r}"
        for line in MAKE.findall(code)
        for target in line.split()
        if target not in make_targets(makefile)
    ]


def broken_links(text: Text, paths: set[str]) -> list[str]:
    """Relative links of a Markdown file to nothing."""
    if not text.path.endswith(".md"):
        return []
    found = []
    for match in LINK.finditer(text.text):
        target = match.group(1)
        if "://" in target or target.startswith("mailto:"):
            continue
        if resolve(text.path.rpartition("/")[0], target) not in paths:
            found.append(text.finding(match.start(), f"{target} does not exist"))
    return found


def resolve(folder: str, target: str) -> str:
    """A relative link as a path from the top of the tree."""
    parts: list[str] = folder.split("/") if folder else []
    for part in target.rstrip("/").split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def missing_documents(text: Text, paths: set[str]) -> list[str]:
    """Documents that code or prose sends a reader to and that are not there."""
    return [
        text.finding(match.start(), f"{match.group()} does not exist")
        for match in DOCUMENT.finditer(text.text)
        if match.group() not in paths
    ]


def decision_findings(texts: tuple[Text, ...]) -> list[str]:
    """Decision records without a number of their own, a title that repeats it, or a part."""
    records = [text for text in texts if text.path.startswith("docs/decisions/")]
    found = []
    for position, text in enumerate(records, start=1):
        number = f"{position:04}"
        name = DECISION_FILE.fullmatch(text.path)
        if name is None or name.group(1) != number:
            found.append(f"{text.path}: a name like {number}-what-was-decided.md was expected")
        if not text.text.startswith(f"# {number}. "):
            found.append(f"{text.path}: a first line like `# {number}. Title` was expected")
        found.extend(
            f"{text.path}: a section {part!r} was expected"
            for part in DECISION_PARTS
            if part not in sections(text.text)
        )
    return found


def protocols(interfaces: Source) -> list[str]:
    """The names of the `Protocol` classes in `agent/interfaces.py`."""
    return [
        node.name
        for node in interfaces.tree.body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
    ]


def snake(name: str) -> str:
    """`BlockDevice` as `block_device`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def missing_implementations(interfaces: Source, files: tuple[Source, ...]) -> list[str]:
    """Seams without a real and a simulated class, such as `LinuxClock`, in files of the same name.

    `ByteStream` is what a `Repository` gives out, and lives in its file.
    """
    classes = {
        (source.path, node.name)
        for source in files
        for node in source.tree.body
        if isinstance(node, ast.ClassDef)
    }
    return [
        f"{path}: a class for {name} of agent/interfaces.py was expected here"
        for name in protocols(interfaces)
        if name != "ByteStream"
        for path in (f"agent/linux/{snake(name)}.py", f"simulator/{snake(name)}.py")
        if not any(place == path and kind.endswith(name) for place, kind in classes)
    ]
