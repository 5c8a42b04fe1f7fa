"""Who may import whom: `simulator` imports `agent`, `fleet` its shared formats, `agent` neither."""

import ast
import sys
from collections.abc import Iterator
from typing import Final

from tests.house.sources import PACKAGES, Source

SHARED_FORMATS: Final = frozenset(
    f"agent.{name}"
    for name in (
        "board",
        "encryption",
        "config",
        "delta_index",
        "errors",
        "flash.intel_hex",
        "flash.mcuboot_image",
        "flash.select",
        "flash.srec",
        "notice",
        "payload",
        "policy",
        "release",
        "report",
        "rollout",
        "strict",
        "topics",
    )
)
"""What `fleet` may import of `agent`: what both sides read, write or decide alike."""

DEVICE_LIBRARIES: Final = frozenset(
    (
        "tuf",
        "securesystemslib",
        "cryptography",
        "serial",
        "urllib3",
        "backports",
    )
)
"""What a device has installed; urllib3 is what tuf speaks through where it fetches by itself."""

LIBRARIES: Final = {
    "agent": DEVICE_LIBRARIES,
    "fleet": DEVICE_LIBRARIES | {"numpy", "paho", "rich", "starlette", "uvicorn"},
    "simulator": DEVICE_LIBRARIES | {"rich", "starlette", "uvicorn", "amqtt"},
}
LIBRARIES_OF_ONE_FILE: Final = {
    "fleet/embedded_broker.py": frozenset(("amqtt",)),  # started only where the simulator is
}
FORBIDDEN: Final = {
    "agent": ("fleet", "simulator", "tests", "benchmarks"),
    "fleet": ("simulator", "tests", "benchmarks"),
    "simulator": ("tests", "benchmarks"),
    "benchmarks": ("tests",),
}
EDGE: Final = ("agent.linux", "agent.service", "agent.cli", "agent.commands")


def is_above_the_seams(source: Source) -> bool:
    """Whether a file is part of the agent that must not touch the world by itself."""
    rest = source.path.removeprefix("agent/")
    return source.folder == "agent" and not (
        rest.startswith(("linux/", "commands/", "cli")) or rest in ("service.py", "__main__.py")
    )


def imported(source: Source) -> Iterator[tuple[ast.stmt, str]]:
    """Each import with the full dotted name of what it takes; `from a import b` gives `a.b`."""
    for node in source.walk():
        match node:
            case ast.Import():
                yield from ((node, alias.name) for alias in node.names)
            case ast.ImportFrom():
                yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)
            case _:
                pass


def is_within(name: str, module: str) -> bool:
    """Whether a dotted name is a module or something inside it."""
    return name == module or name.startswith(f"{module}.")


def direction(source: Source) -> list[str]:
    """Imports against the direction of the layers."""
    found: list[str] = []
    for node, name in imported(source):
        found.extend(
            source.finding(node, f"{source.folder} must not import {package}")
            for package in FORBIDDEN.get(source.folder, ())
            if is_within(name, package)
        )
        if (
            source.folder == "fleet"
            and is_within(name, "agent")
            and not any(is_within(name, module) for module in SHARED_FORMATS)
        ):
            found.append(source.finding(node, f"fleet takes only shared formats, not {name}"))
        if is_above_the_seams(source) and any(is_within(name, module) for module in EDGE):
            found.append(source.finding(node, f"a file above the seams must not import {name}"))
    return found


def libraries(source: Source) -> list[str]:
    """Imports of libraries that the package's installation does not bring."""
    if source.folder not in LIBRARIES:
        return []
    own = LIBRARIES_OF_ONE_FILE.get(source.path, frozenset())
    allowed = sys.stdlib_module_names | LIBRARIES[source.folder] | own | {*PACKAGES}
    return [
        source.finding(node, f"{name.partition('.')[0]} is no dependency of {source.folder}")
        for node, name in imported(source)
        if name.partition(".")[0] not in allowed
        and not name.startswith(
            ("compression.", "_typeshed.")
        )  # of Python 3.14; of the type checker
    ]
