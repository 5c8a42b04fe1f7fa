from simulator.trace import HEADING, Line, Trace, format_line, line_document


def test_one_line_per_event_in_fixed_columns() -> None:
    trace = Trace(boot=2, slot="b", state="TRIAL", op=lambda: 31, time_s=lambda: 12.25)
    trace.note("booted", "attempt 1 of 3")
    trace.note("quiet")
    assert trace.text().splitlines() == [
        HEADING,
        "   2  b        31      12.2  TRIAL       booted                 attempt 1 of 3",
        "   2  b        31      12.2  TRIAL       quiet",
    ]
    assert trace.events() == ["booted", "quiet"]


def test_long_details_are_cut_and_lines_go_to_the_sink_too() -> None:
    seen: list[Line] = []
    trace = Trace(sink=seen.append)
    trace.note("event", "x" * 1000)
    assert seen == trace.lines
    assert len(format_line(seen[0])) < 250
    assert line_document(seen[0])["event"] == "event"
