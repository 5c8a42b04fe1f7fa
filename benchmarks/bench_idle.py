"""What waiting for a notice costs, and a notice about nothing: this agent, two yardsticks and its peers.

Lockgate and the yardsticks hold one MQTT session over mutual TLS with a real mosquitto. Run it as `python -m
benchmarks.bench_idle [--seconds N] [--json]`; a keepalive is 60 s, so that wake-ups want 60 seconds or more.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from benchmarks.idle_cost import KIB_PER_MIB, Sample, memory, sample, tree
from benchmarks.idle_device import HOST, SLOT_BYTES, Fleet, Place, enrolled, make_device, new_fleet
from benchmarks.idle_peers import environment, free_port, peers
from fleet.broker_process import BrokerKind, BrokerProcess
from fleet.notify import notify
from fleet.server import HttpsServer
from fleet.session import BrokerAddress

TOPIC = "lockgate/simulated/notice"
START_S = 2.0
PATIENCE_S = 60.0
NOTICES = 10
NOTICE_PAUSE_S = (
    2.5  # longer than the shortest interval between two checks, which is one second here
)
SOON_S, NEVER_S = 1, 86_400
LOCKGATE = (sys.executable, "-m", "agent")
COURIER = "lockgate courier"
ONE_PROCESS = "lockgate run, one process, after a check"
UPDATED = "lockgate courier, after an update"
Commands = dict[str, tuple[str, ...]]

BARE_PAHO = """
import signal
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
client = Client(CallbackAPIVersion.VERSION2, client_id="bare")
client.tls_set({own.authority!r}, {own.certificate!r}, {own.key!r})
client.on_connect = lambda *_: client.subscribe({topic!r}, 1)
client.connect({own.host!r}, {own.port}, {own.keepalive_s})
client.loop_start()
signal.pause()
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """One program at rest; memory in MiB, `times` of the courier's own memory."""

    name: str
    rss_mib: float
    pss_mib: float
    own_mib: float
    times: float
    threads: int
    wakeups_per_minute: float
    cpu_ms_per_minute: float


@dataclass(frozen=True, slots=True)
class Results:
    """All that was measured; CPU time of the courier and its children, in ms."""

    rows: list[Usage]
    notice_cpu_ms: float
    news_cpu_ms: float


def commands(folder: Path, place: Place) -> Commands:
    """What is measured: the real programs, and what there is to compare them with."""
    checked = make_device(folder / "checked", place, SOON_S)
    bare = place.broker(enrolled(folder / "bare", place))
    sub = place.broker(enrolled(folder / "sub", place))
    files = ("--cafile", sub.authority, "--cert", sub.certificate, "--key", sub.key)
    address = ("-h", HOST, "-p", str(place.broker_port), *files)
    paho = (sys.executable, "-c", BARE_PAHO.format(own=bare, topic=TOPIC))
    return {
        COURIER: (*LOCKGATE, "--config", str(two_processes(folder / "courier", place)), "courier"),
        ONE_PROCESS: (*LOCKGATE, "--config", str(checked), "run"),
        "paho client with its thread": paho,
        "mosquitto_sub": ("mosquitto_sub", *address, "-q", "1", "-k", "60", "-t", TOPIC),
        **peers(folder / "peers", free_port()),
    }


def two_processes(folder: Path, place: Place) -> Path:
    """A device whose courier starts the agent, and whose reboot is played."""
    config = make_device(folder, place, SOON_S)
    reboot = json.dumps([sys.executable, "-m", "benchmarks.idle_reboot", str(folder)])
    agent = json.dumps([*LOCKGATE, "--config", str(config), "agent"])
    text = config.read_text().replace('command = ["true"]', f"command = {reboot}")
    config.write_text(f"{text}[courier]\nagent = {agent}\n")
    return config


@contextmanager
def started(command: tuple[str, ...], folder: Path) -> Iterator[int]:
    """A program from its start to the end of the measurement, by its number."""
    with tempfile.TemporaryFile() as output:
        own = environment(folder / "peers")
        process = subprocess.Popen(command, stdout=output, stderr=output, env=own)
        try:
            time.sleep(START_S)
            if process.poll() is not None:
                output.seek(0)
                sys.exit(f"{' '.join(command)[:200]} ended:\n{output.read().decode()[-2000:]}")
            yield process.pid
        finally:
            process.kill()
            process.wait()


def until(done: Callable[[], bool], what: str) -> None:
    """Return when it is so."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > deadline_s:
            sys.exit(f"{what} was expected within {PATIENCE_S:g} s")
        time.sleep(0.02)


def usage(name: str, pid: int, before: Sample, seconds: float) -> Usage:
    """What a program holds now and has done since; `times` is set later."""
    after, held = sample(pid), memory(pid)
    return Usage(
        name=name,
        rss_mib=round(held.rss / KIB_PER_MIB, 1),
        pss_mib=round(held.pss / KIB_PER_MIB, 1),
        own_mib=round(held.own / KIB_PER_MIB, 1),
        times=0.0,
        threads=after.threads,
        # A thread that has ended takes its counts with it: never less than nothing.
        wakeups_per_minute=round(max(0, after.switches - before.switches) * 60 / seconds, 1),
        cpu_ms_per_minute=round(max(0.0, after.cpu_ms - before.cpu_ms) * 60 / seconds, 1),
    )


def watched(running: dict[str, int], seconds: float) -> list[Usage]:
    """All of these side by side for this long."""
    began = time.monotonic()
    before = {name: sample(pid) for name, pid in running.items()}
    time.sleep(seconds)
    lasted = time.monotonic() - began
    return [usage(name, pid, before[name], lasted) for name, pid in running.items()]


def notice_cost(place: Place, courier: int, prepare: Callable[[], None]) -> float:
    """CPU time of all processes together for one of several notices, in ms."""
    spent = 0.0
    for _ in range(NOTICES):
        prepare()
        before = sample(courier).cpu_ms
        notify(place.workspace, address=BrokerAddress(HOST, place.broker_port))
        until(lambda: tree(courier) != (courier,), "an agent that is started")
        until(lambda: tree(courier) == (courier,), "an agent that rests")
        spent += sample(courier).cpu_ms - before
        time.sleep(NOTICE_PAUSE_S)
    return round(spent / NOTICES, 1)


def update(folder: Path, fleet: Fleet, place: Place) -> None:
    """Let the two-process device fetch, install, boot and confirm a release."""
    fleet.release_to_all(Random(1).randbytes(SLOT_BYTES))
    notify(place.workspace, address=BrokerAddress(HOST, place.broker_port))
    device = folder / "courier"
    until(lambda: "slot=b" in (device / "proc/cmdline").read_text(), "a boot of the new slot")
    journal = device / "state/journal.json"
    until(lambda: b'"confirmed"' in journal.read_bytes(), "a confirmed update")


def measure(seconds: float) -> Results:
    """Everything, in about two minutes and a half more than twice these seconds."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fleet = new_fleet(folder / "fleet")
        broker = BrokerProcess(fleet.workspace, port=0, kind=BrokerKind.MOSQUITTO)
        stack.enter_context(broker)
        server = stack.enter_context(HttpsServer(fleet.workspace, port=0))
        place = Place(fleet.workspace, broker.port, f"https://{HOST}:{server.port}")
        lines = commands(folder, place)
        running = {name: stack.enter_context(started(line, folder)) for name, line in lines.items()}
        until((folder / "courier/run/rest.json").exists, "an agent that rests")
        rows = watched(running, seconds)
        courier = running[COURIER]
        notice_ms = notice_cost(place, courier, lambda: None)

        def republish() -> None:
            fleet.operator.publish()
            fleet.publish()

        news_ms = notice_cost(place, courier, republish)
        update(folder, fleet, place)
        until(lambda: tree(courier) == (courier,), "an agent that rests again")
        rows[1:1] = watched({UPDATED: courier}, seconds)
    return Results([compared(row, rows[0]) for row in rows], notice_ms, news_ms)


def compared(row: Usage, courier: Usage) -> Usage:
    """With how many times the courier's memory it has."""
    return Usage(**{**asdict(row), "times": round(row.own_mib / courier.own_mib, 2)})


def table(results: Results) -> str:
    """The figures for people."""
    line = "{:41} {:>8} {:>8} {:>8} {:>6} {:>8} {:>12} {:>10}"
    head = line.format(
        "", "RSS MiB", "PSS MiB", "own MiB", "times", "threads", "wake-ups/min", "CPU ms/min"
    )
    rows = [line.format(*asdict(row).values()) for row in results.rows]
    return "\n".join(
        [
            head,
            *rows,
            f"a notice about nothing new, all processes: {results.notice_cpu_ms} ms of CPU",
            f"a notice about news for others, all processes: {results.news_cpu_ms} ms of CPU",
        ]
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What waiting for a notice costs.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to look, default 60")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    results = measure(options.seconds)
    print(json.dumps(asdict(results), indent=1) if options.json else table(results))


if __name__ == "__main__":
    main()
