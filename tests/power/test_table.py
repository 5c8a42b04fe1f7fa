"""What an exploration says: how far it is, a row for each board, and the way to what is broken."""

import io

from rich.console import Console

from simulator.explore.result import Broken, Cut, Progress, Result
from simulator.explore.table import LINE_EVERY_S, Bulletin, print_table
from simulator.explore.watch import Violation


def console() -> tuple[Console, io.StringIO]:
    said = io.StringIO()
    return Console(file=said, width=160), said


def result(board: str, scenario: str) -> Result:
    return Result(board, scenario, operations=10, crash_states=200, distinct=30, closed=True)


def test_where_there_is_no_terminal_a_line_now_and_then_says_how_far_it_is() -> None:
    screen, said = console()
    now_s = [0.0]
    progress = Progress("rpi4-tryboot healthy", 1234, 56, 60, 7)
    with Bulletin(screen, count=2, clock_s=lambda: now_s[0]) as bulletin:
        bulletin.tell(progress)
        assert said.getvalue() == ""
        now_s[0] = LINE_EVERY_S
        bulletin.tell(progress)
        bulletin.tell(progress)
        assert said.getvalue().count("1,234 crash states, 56 distinct, 7 to recover from") == 1
        bulletin.tell(Progress("rpi4-tryboot healthy", 2000, 60, 66, 0, finished=True))
    assert "1/2" in said.getvalue()


def test_the_table_has_a_row_for_each_scenario_for_each_board_and_for_all() -> None:
    screen, said = console()
    rows = [result("one", "healthy"), result("one", "hangs"), result("two", "healthy")]
    print_table(screen, rows, 12.3)
    lines = [line.split() for line in said.getvalue().splitlines()]
    assert ["one", "hangs", "10", "200", "30", "0", "yes", "0", "0.0"] in lines
    assert ["one", "2", "20", "400", "60", "0", "yes", "0", "0.0"] in lines
    assert ["all", "3", "30", "600", "90", "0", "yes", "0", "12.3"] in lines


def test_a_broken_promise_is_told_with_the_cuts_that_lead_there() -> None:
    screen, said = console()
    one = result("one", "healthy")
    cut = Cut(0, 17, "Flash.erase motor 0x8000000", "motor alone, torn")
    one.broken.append(Broken(Violation("pair_is_allowed", "it is not"), (cut,)))
    assert not one.good
    print_table(screen, [one], 1.0)
    assert "pair_is_allowed" in said.getvalue()
    assert "power cut 1 at operation 17, Flash.erase motor 0x8000000; motor alone, torn" in (
        said.getvalue()
    )


def test_an_audit_is_told_with_what_it_was_drawn_from() -> None:
    screen, said = console()
    one = result("one", "healthy")
    one.merged, one.other_bytes, one.audited = 5000, 70, 20
    print_table(screen, [one], 1.0)
    assert "audit: 5,000 times" in said.getvalue()
    assert "20 of these were run after all, 0 differ" in said.getvalue()
