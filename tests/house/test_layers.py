import pytest

from tests.house import calls, imports
from tests.house.sources import parse, report, sources


def test_imports_go_one_way() -> None:
    findings = [line for source in sources() for line in imports.direction(source)]
    assert not findings, report(findings)


def test_each_package_imports_only_what_its_installation_brings() -> None:
    findings = [line for source in sources() for line in imports.libraries(source)]
    assert not findings, report(findings)


def test_nothing_above_the_seams_touches_the_world() -> None:
    findings = [line for source in sources() for line in calls.world_above_the_seams(source)]
    assert not findings, report(findings)


def test_constructors_do_nothing() -> None:
    findings = [line for source in sources() for line in calls.work_in_constructors(source)]
    assert not findings, report(findings)


def test_nothing_happens_at_import() -> None:
    findings = [line for source in sources() for line in calls.work_at_import(source)]
    assert not findings, report(findings)


def test_tests_neither_patch_nor_skip() -> None:
    findings = [line for source in sources() for line in calls.patches(source)]
    assert not findings, report(findings)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("agent/plan.py", "import fleet.keys"),
        ("agent/plan.py", "from simulator import world"),
        ("agent/plan.py", "def f() -> None:\n    from fleet.keys import load"),
        ("agent/linux/clock.py", "from simulator.clock import Clock"),
        ("agent/plan.py", "from agent.linux.clock import SystemClock"),
        ("agent/boot/uboot.py", "from agent.linux import files"),
        ("agent/plan.py", "from agent import service"),
        ("fleet/keys.py", "from agent.install import install"),
        ("fleet/keys.py", "from agent import journal"),
        ("fleet/keys.py", "import simulator"),
        ("simulator/world.py", "from tests.house import sources"),
        ("benchmarks/bench_idle.py", "import tests.house"),
    ],
)
def test_an_import_against_the_direction_is_found(path: str, code: str) -> None:
    assert imports.direction(parse(path, code))


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("agent/service.py", "from agent.linux.clock import SystemClock"),
        ("agent/commands/run.py", "from agent.service import Service"),
        ("agent/plan.py", "from agent.release import Release"),
        ("fleet/keys.py", "from agent.errors import ConfigError"),
        ("fleet/keys.py", "from agent import rollout"),
        ("simulator/world.py", "from agent.service import Service"),
        ("tests/house/test_x.py", "from tests.house import sources"),
    ],
)
def test_an_import_along_the_direction_is_not_found(path: str, code: str) -> None:
    assert not imports.direction(parse(path, code))


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("agent/plan.py", "import rich"),
        ("agent/linux/broker.py", "from amqtt.broker import Broker"),
        ("fleet/serve.py", "import amqtt"),
        ("simulator/world.py", "import numpy"),
    ],
)
def test_a_library_that_is_not_installed_there_is_found(path: str, code: str) -> None:
    assert imports.libraries(parse(path, code))


def test_declared_libraries_are_not_found() -> None:
    code = "import tuf.ngclient\nimport json\nfrom backports import zstd\nfrom agent import board"
    assert not imports.libraries(parse("agent/metadata.py", code))


@pytest.mark.parametrize(
    "code",
    [
        "import socket",
        "import subprocess",
        "import random",
        "import os",
        "import time as t",
        "from os import environ",
        "from pathlib import Path",
        "import pathlib\npathlib.Path('x')",
        "import threading",
        "import tempfile",
        "import requests",
        "from urllib.request import urlopen",
        "import asyncio",
        "def f() -> None:\n    import secrets",
        "open('x')",
        "print('x')",
        "path.read_bytes()",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import date\ndate.today()",
        "import sys\nsys.stdin.read()",
    ],
)
def test_the_world_above_the_seams_is_found(code: str) -> None:
    assert calls.world_above_the_seams(parse("agent/boot/tryboot.py", code))
    assert not calls.world_above_the_seams(parse("agent/linux/files.py", code))
    assert not calls.world_above_the_seams(parse("agent/cli.py", code))


def test_seams_and_pure_libraries_above_the_seams_are_not_found() -> None:
    code = (
        "import hashlib\nimport io\nfrom pathlib import PurePosixPath\n"
        "from datetime import UTC, datetime\n"
        "repository.open('x', 0, 1)\nclock.wall()\nclock.sleep(1.0)\n"
        "datetime.strptime('x', 'y')\n"
    )
    assert not calls.world_above_the_seams(parse("agent/install.py", code))


@pytest.mark.parametrize(
    "code",
    [
        "def __init__(self, files: Files) -> None:\n    self.x = files.read('x')",
        "def __init__(self, world: World) -> None:\n    world.files.read('x')",
        "def __init__(self, files: interfaces.Files) -> None:\n    files.names('x')",
        "def __init__(self, path: str) -> None:\n    self.file = open(path)",
        "def __post_init__(self) -> None:\n    self.text = self.path.read_text()",
    ],
)
def test_a_constructor_that_works_is_found(code: str) -> None:
    source = parse("agent/boot/uboot.py", f"class A:\n  {code.replace(chr(10), chr(10) + '  ')}")
    assert calls.work_in_constructors(source)


def test_a_constructor_that_only_remembers_is_not_found() -> None:
    code = "class A:\n  def __init__(self, files: Files, n: str) -> None:\n    self.n = n.strip()\n"
    assert not calls.work_in_constructors(parse("agent/boot/uboot.py", code))


@pytest.mark.parametrize(
    "code",
    [
        "print('x')",
        "for name in names:\n    pass",
        "with lock:\n    pass",
        "SETTINGS = open('x').read()",
        "SETTINGS = Path('x').read_text()",
    ],
)
def test_work_at_import_is_found(code: str) -> None:
    assert calls.work_at_import(parse("fleet/keys.py", code))


def test_definitions_at_import_are_not_found() -> None:
    code = '"""Doc."""\nimport re\nNAME = re.compile("x")\n"""What it is."""\nif __name__ == "x":\n  f()'
    assert not calls.work_at_import(parse("fleet/keys.py", code))


@pytest.mark.parametrize(
    "code",
    [
        "from unittest import mock",
        "import unittest.mock",
        "from unittest.mock import patch",
        "def test_x(monkeypatch: object) -> None: ...",
        "def test_x(*, mocker: object) -> None: ...",
        "import pytest\ndef f(m: pytest.MonkeyPatch) -> None: ...",
        "import pytest\n@pytest.mark.skipif(True)\ndef test_x() -> None: ...",
        "import pytest\npytest.importorskip('x')",
        "from pytest import skip",
    ],
)
def test_a_patch_or_a_skip_is_found(code: str) -> None:
    assert calls.patches(parse("tests/stories/test_x.py", code))
