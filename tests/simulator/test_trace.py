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


def test_what_happens_again_and_again_is_printed_once_and_hashes_are_cut() -> None:
    trace = Trace()
    for _ in range(3):
        trace.note("check", "failed")
    trace.note("fetch", f"blobs/{'0123456789abcdef' * 4} 0+10")
    assert len(trace.lines) == 4
    repeated, fetched = trace.text().splitlines()[1:]
    assert repeated.endswith("check                  failed  (3 times)")
    assert fetched.endswith("blobs/01234567.. 0+10")
