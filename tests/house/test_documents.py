import pytest

from agent.update import TRANSITIONS
from tests.house import documents
from tests.house.sources import ROOT, Text, parse, report, sources, texts


def read(path: str) -> str:
    return (ROOT / path).read_text()


def paths() -> set[str]:
    files = {text.path for text in texts()}
    folders = {path[:end] for path in files for end, sign in enumerate(path) if sign == "/"}
    return files | folders


def test_every_seam_has_a_real_and_a_simulated_file() -> None:
    (interfaces,) = (source for source in sources() if source.path == "agent/interfaces.py")
    findings = documents.missing_implementations(interfaces, sources())
    assert not findings, report(findings)


def test_exit_codes_are_those_of_the_errors() -> None:
    classes = documents.error_classes()
    expected = {(kind.code, str(kind.exit_status), str(kind.retry)) for kind in classes}
    assert documents.error_rows(read("docs/exit-codes.md")) == expected
    assert len({kind.code for kind in classes}) == len(classes), "two errors share a code"


def test_other_statuses_are_no_error_s_status() -> None:
    assert documents.plain_statuses(read("docs/exit-codes.md")) == documents.PLAIN_STATUSES
    statuses = {kind.exit_status for kind in documents.error_classes()}
    assert statuses & documents.PLAIN_STATUSES == {1}


def test_the_diagram_is_the_table_of_transitions() -> None:
    table = {
        (str(state), str(event), str(following))
        for state, moves in TRANSITIONS.items()
        for event, following in moves.items()
    }
    assert documents.drawn_transitions(read("docs/architecture.md")) == table


def test_every_dependency_has_its_line() -> None:
    documented = documents.documented_dependencies(read("docs/dependencies.md"))
    assert documented == documents.declared_dependencies(read("pyproject.toml"))


def test_commands_in_documents_and_scripts_exist() -> None:
    scripts = (".ci/run", "README.md", "CONTRIBUTING.md", "SECURITY.md")
    chosen = [text for text in texts() if text.path in scripts or text.path.startswith("docs/")]
    findings = [
        line for text in chosen for line in documents.unknown_targets(text, read("Makefile"))
    ]
    assert not findings, report(findings)


def test_links_lead_somewhere() -> None:
    findings = [line for text in texts() for line in documents.broken_links(text, paths())]
    assert not findings, report(findings)


def test_documents_that_are_named_exist() -> None:
    chosen = [text for text in texts() if not text.path.startswith("tests/house/")]
    findings = [line for text in chosen for line in documents.missing_documents(text, paths())]
    assert not findings, report(findings)


def test_decision_records_are_numbered_and_complete() -> None:
    findings = documents.decision_findings(texts())
    assert not findings, report(findings)


def test_a_seam_without_its_files_is_found() -> None:
    interfaces = parse(
        "agent/interfaces.py",
        "class BlockDevice(Protocol): ...\nclass ByteStream(Protocol): ...\nclass World: ...\n",
    )
    assert documents.protocols(interfaces) == ["BlockDevice", "ByteStream"]
    simulated = parse("simulator/block_device.py", "class SimulatedBlockDevice: ...")
    real = parse("agent/linux/block_device.py", "class LinuxBlockDevice: ...")
    elsewhere = parse("agent/linux/devices.py", "class LinuxBlockDevice: ...")
    assert not documents.missing_implementations(interfaces, (simulated, real))
    (finding,) = documents.missing_implementations(interfaces, (simulated, elsewhere))
    assert finding.startswith("agent/linux/block_device.py: ")


def test_tables_are_read_by_section() -> None:
    markdown = (
        "# T\n\n## Errors\n\n| code | status | retry |\n|---|---|---|\n| `a` | 5 | later |\n\n"
        "## Other statuses\n\n| status | means |\n|---:|:--|\n| 0 | well |\n| 130 | stopped |\n"
    )
    assert documents.error_rows(markdown) == {("a", "5", "later")}
    assert documents.plain_statuses(markdown) == {0, 130}


def test_dependencies_are_read_from_both_sides() -> None:
    project_file = (
        '[project]\ndependencies = ["tuf>=7", "backports.zstd>=1; python_version < \'3.14\'"]\n'
        '[project.optional-dependencies]\nfleet = ["rich"]\n'
        'simulator = ["lockgate[fleet]", "amqtt>=0.11"]\ndev = ["PyTest"]\n'
    )
    expected = {
        "Device": {"tuf", "backports.zstd"},
        "Operator": {"rich"},
        "Simulator": {"amqtt"},
        "Development": {"pytest"},
    }
    assert documents.declared_dependencies(project_file) == expected
    markdown = "## Device\n\n| library | why |\n|---|---|\n| `tuf` | x |\n\n## Notes\n\nNone.\n"
    assert documents.documented_dependencies(markdown) == {"Device": {"tuf"}}


def test_arrows_are_read_from_a_diagram() -> None:
    diagram = "```mermaid\nstateDiagram-v2\n    [*] --> a\n    a --> b: gave-up\n    b --> [*]\n```"
    assert documents.drawn_transitions(diagram) == {("a", "gave-up", "b")}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("README.md", "```sh\nmake setup\nmake fly   # now\n```\n"),
        ("README.md", "Run `make fly`.\n"),
        ("README.md", "Run `make check fly`.\n"),
        (".ci/run", "make check\nmake fly\n"),
    ],
)
def test_a_command_that_does_not_exist_is_found(path: str, text: str) -> None:
    makefile = "check: setup ## x\nsetup:\nCODE := 1\n"
    (finding,) = documents.unknown_targets(Text(path, text), makefile)
    assert "'fly'" in finding


def test_a_command_that_exists_and_prose_are_not_found() -> None:
    text = Text("README.md", "We make sense.\n\n```\nmake setup   # ready\nmake check\n```\n")
    assert not documents.unknown_targets(text, "check:\nsetup:\n")


def test_a_link_to_nothing_is_found() -> None:
    text = Text("docs/a.md", "[b](b.md), [c](../c.md#part), [d](https://d.example), [e](#here)")
    assert len(documents.broken_links(text, {"docs/a.md", "c.md"})) == 1
    assert not documents.broken_links(text, {"docs/b.md", "c.md"})


def test_a_document_that_is_only_named_is_found() -> None:
    text = Text("agent/x.py", '"""Layout: `docs/payload.md`."""')
    assert documents.missing_documents(text, set())
    assert not documents.missing_documents(text, {"docs/payload.md"})


def test_a_decision_record_without_number_title_or_part_is_found() -> None:
    whole = "# 0001. A\n\n## Context\n\n## Decision\n\n## Consequences\n"
    assert not documents.decision_findings((Text("docs/decisions/0001-a.md", whole),))
    for path, text in (
        ("docs/decisions/why.md", whole),
        ("docs/decisions/0002-a.md", whole),
        ("docs/decisions/0001-a.md", whole.replace("0001. ", "")),
        ("docs/decisions/0001-a.md", whole.replace("## Consequences\n", "")),
    ):
        assert documents.decision_findings((Text(path, text),))
