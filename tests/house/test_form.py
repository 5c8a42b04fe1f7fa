import pytest

from tests.house import sizes, style
from tests.house.sources import PACKAGES, parse, report, sources


def test_files_can_be_read_in_one_go() -> None:
    findings = [line for source in sources() for line in sizes.long_files(source)]
    assert not findings, report(findings)


def test_functions_do_one_thing() -> None:
    findings = [line for source in sources() for line in sizes.long_functions(source)]
    assert not findings, report(findings)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_usual_file_and_function_are_short(package: str) -> None:
    files = tuple(source for source in sources() if source.folder == package)
    assert sizes.file_median(files) <= sizes.FILE_LINES_MEDIAN_MAX
    assert sizes.function_median(files) <= sizes.FUNCTION_LINES_MEDIAN_MAX


def test_every_module_says_why_it_exists() -> None:
    findings = [line for source in sources() for line in style.missing_docstring(source)]
    assert not findings, report(findings)


def test_loops_have_a_bound() -> None:
    findings = [line for source in sources() for line in style.endless_loops(source)]
    assert not findings, report(findings)


def test_handlers_name_what_they_expect() -> None:
    findings = [line for source in sources() for line in style.broad_excepts(source)]
    assert not findings, report(findings)


def test_a_match_forgets_no_member_in_silence() -> None:
    findings = [line for source in sources() for line in style.open_matches(source)]
    assert not findings, report(findings)


def test_a_long_file_is_found() -> None:
    assert sizes.long_files(parse("agent/x.py", "x = 1\n" * 401))
    assert not sizes.long_files(parse("agent/x.py", "x = 1\n" * 400))


def test_a_long_function_is_found() -> None:
    assert sizes.long_functions(parse("agent/x.py", "def f() -> None:\n" + "    x = 1\n" * 60))
    assert not sizes.long_functions(parse("agent/x.py", "def f() -> None:\n" + "    x = 1\n" * 59))


def test_medians_leave_out_files_that_only_mark_a_package() -> None:
    files = tuple(
        parse(f"agent/{count}.py", "def f(): pass\n" * count) for count in (1, 1, 1, 100, 200, 300)
    )
    assert sizes.file_median(files) == 200
    assert sizes.function_median(files) == 1


def test_a_module_without_a_docstring_is_found() -> None:
    assert style.missing_docstring(parse("agent/x.py", "import json\n"))
    assert style.missing_docstring(parse("tests/stories/devices.py", "import json\n"))
    assert not style.missing_docstring(parse("agent/x.py", '"""Why."""\n'))
    assert not style.missing_docstring(parse("tests/stories/test_x.py", "import json\n"))


@pytest.mark.parametrize(
    "code",
    [
        "while True:\n    pass",
        "while 1:\n    pass",
        "import itertools\nfor n in itertools.count():\n    pass",
        "from itertools import count\nfor n in count(1):\n    pass",
    ],
)
def test_an_endless_loop_is_found(code: str) -> None:
    assert style.endless_loops(parse("agent/install.py", code))
    assert not style.endless_loops(parse("agent/service.py", code))


def test_a_bounded_loop_is_not_found() -> None:
    code = "while not done:\n    pass\nfor n in range(9):\n    words.count('x')\n"
    assert not style.endless_loops(parse("agent/install.py", code))


@pytest.mark.parametrize(
    "code",
    [
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept (OSError, BaseException) as error:\n    pass",
        "try:\n    f()\nexcept:\n    pass",
        "with contextlib.suppress(Exception):\n    f()",
    ],
)
def test_a_broad_handler_is_found(code: str) -> None:
    assert style.broad_excepts(parse("tests/stories/test_x.py", code))


def test_a_narrow_handler_is_not_found() -> None:
    code = "try:\n    f()\nexcept (OSError, ValueError):\n    pass\n"
    assert not style.broad_excepts(parse("agent/x.py", code))
    code = "try:\n    f()\nexcept BaseException:\n    close()\n    raise\n"
    assert not style.broad_excepts(parse("agent/x.py", code))


@pytest.mark.parametrize(
    "code",
    [
        "match s:\n  case State.A:\n    x = 1\n  case State.B:\n    x = 2",
        "match s:\n  case Tryboot():\n    x = 1\n  case _:\n    x = 2",
        "match s:\n  case State.A | State.B:\n    return 1\n  case other:\n    return 2",
        "match s:\n  case State.A:\n    return 1\n  case State.B:\n    x = 2",
    ],
)
def test_an_open_match_is_found(code: str) -> None:
    body = code.replace("\n", "\n  ")
    assert style.open_matches(parse("agent/x.py", f"def f(s):\n  {body}"))


@pytest.mark.parametrize(
    "code",
    [
        "match s:\n  case State.A:\n    x = 1\n  case never:\n    assert_never(never)",
        "match s:\n  case State.A:\n    x = 1\n  case _:\n    raise ValueError",
        "match s:\n  case State.A:\n    return 1\n  case State.B:\n    return 2",
        "match s:\n  case errno.EIO:\n    x = 1\n  case _:\n    x = 2",
        "match s:\n  case ssl.SSLError():\n    x = 1\n  case _:\n    x = 2",
        "match s:\n  case 'word':\n    x = 1\n  case _:\n    x = 2",
        "match s:\n  case int():\n    x = 1\n  case _:\n    x = 2",
        "match s, t:\n  case State.A, True:\n    x = 1\n  case _:\n    x = 2",
    ],
)
def test_a_closed_match_is_not_found(code: str) -> None:
    body = code.replace("\n", "\n  ")
    assert not style.open_matches(parse("agent/x.py", f"def f(s, t):\n  {body}"))
