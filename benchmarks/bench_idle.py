"""What waiting for a notice costs: memory, threads and wake-ups of the agent and of two yardsticks.

Each program holds one MQTT session over mutual TLS with a real mosquitto and does nothing else. Run it
as `python -m benchmarks.bench_idle [--seconds N] [--json]`; a keepalive is 60 s, so that wake-ups per
minute want 120 seconds or more.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.idle_device import HOST, Place, enrolled, make_device, new_fleet
from fleet.broker_process import BrokerKind, BrokerProcess
from fleet.server import HttpsServer

TOPIC = "lockgate/simulated/notice"
START_S = 2.0
SETTLE_S = 5.0  # until the last session is open and the agent has made its first check
KIB_PER_MIB = 1024
SOON_S, NEVER_S = 1, 86_400
LOCKGATE = (sys.executable, "-m", "agent")
Commands = dict[str, tuple[str, ...]]

HOLD_SESSION = """
from agent.config import BrokerSettings
from agent.interfaces import Message
from agent.linux.broker import MqttBroker
broker = MqttBroker({settings!r}, "holder")
broker.connect(({topic!r},), Message("lockgate/simulated/holder/presence", b"offline"))
while broker.next_message(3600) is None:
    pass
"""
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
    """One process at rest; memory in MiB."""

    name: str
    rss_mib: float
    pss_mib: float
    threads: int
    wakeups_per_minute: float
    cpu_ms_per_minute: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What the kernel has counted for a process so far."""

    switches: int
    cpu_ms: float


def commands(folder: Path, place: Place) -> Commands:
    """What is measured: the real service, and what there is to compare it with."""
    waiting = make_device(folder / "waiting", place, NEVER_S)
    checked = make_device(folder / "checked", place, SOON_S)
    holder = place.broker(enrolled(folder / "holder", place))
    bare = place.broker(enrolled(folder / "bare", place))
    sub = place.broker(enrolled(folder / "sub", place))
    files = ("--cafile", sub.authority, "--cert", sub.certificate, "--key", sub.key)
    address = ("-h", HOST, "-p", str(place.broker_port), *files)
    return {
        "lockgate run, before its first check": (*LOCKGATE, "--config", str(waiting), "run"),
        "lockgate run, after a check": (*LOCKGATE, "--config", str(checked), "run"),
        "MqttBroker alone": script(HOLD_SESSION.format(settings=holder, topic=TOPIC)),
        "paho client with its thread": script(BARE_PAHO.format(own=bare, topic=TOPIC)),
        "mosquitto_sub": ("mosquitto_sub", *address, "-q", "1", "-k", "60", "-t", TOPIC),
    }


def script(text: str) -> tuple[str, ...]:
    """A few lines of Python as a command."""
    return (sys.executable, "-c", text)


@contextmanager
def started(command: tuple[str, ...]) -> Iterator[int]:
    """A program from its start to the end of the measurement, by its number."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            time.sleep(START_S)
            if process.poll() is not None:
                output.seek(0)
                sys.exit(f"{' '.join(command)[:200]} ended:\n{output.read().decode()[-2000:]}")
            yield process.pid
        finally:
            process.kill()
            process.wait()


def sample(pid: int) -> Sample:
    """Voluntary switches and CPU time of all threads (proc_pid_status(5), proc_pid_stat(5))."""
    switches = sum(
        int(task.joinpath("status").read_text().split("\nvoluntary_ctxt_switches:")[1].split()[0])
        for task in Path(f"/proc/{pid}/task").iterdir()
    )
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    return Sample(switches, ticks * 1000 / os.sysconf("SC_CLK_TCK"))


def usage(name: str, pid: int, before: Sample, seconds: float) -> Usage:
    """What a process holds now and has done since."""
    after = sample(pid)
    memory = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    )
    return Usage(
        name=name,
        rss_mib=round(int(memory["Rss"].split()[0]) / KIB_PER_MIB, 1),
        pss_mib=round(int(memory["Pss"].split()[0]) / KIB_PER_MIB, 1),
        threads=len(list(Path(f"/proc/{pid}/task").iterdir())),
        wakeups_per_minute=round((after.switches - before.switches) * 60 / seconds, 1),
        cpu_ms_per_minute=round((after.cpu_ms - before.cpu_ms) * 60 / seconds, 1),
    )


def measure(seconds: float) -> list[Usage]:
    """All programs side by side for this long."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workspace = new_fleet(folder / "fleet")
        broker = stack.enter_context(BrokerProcess(workspace, port=0, kind=BrokerKind.MOSQUITTO))
        server = stack.enter_context(HttpsServer(workspace, port=0))
        place = Place(workspace, broker.port, f"https://{HOST}:{server.port}")
        programs = commands(folder, place)
        running = {name: stack.enter_context(started(line)) for name, line in programs.items()}
        time.sleep(SETTLE_S)
        if server.traffic.requests == 0:
            sys.exit("the agent was expected to have asked for metadata by now")
        began = time.monotonic()
        before = {name: sample(pid) for name, pid in running.items()}
        time.sleep(seconds)
        lasted = time.monotonic() - began
        return [usage(name, pid, before[name], lasted) for name, pid in running.items()]


def table(rows: list[Usage]) -> str:
    """The figures for people."""
    line = "{:38} {:>8} {:>8} {:>8} {:>12} {:>10}"
    head = line.format("", "RSS MiB", "PSS MiB", "threads", "wake-ups/min", "CPU ms/min")
    return "\n".join([head, *(line.format(*asdict(row).values()) for row in rows)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What waiting for a notice costs.")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to look, default 30")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = measure(options.seconds)
    print(json.dumps([asdict(row) for row in rows], indent=1) if options.json else table(rows))


if __name__ == "__main__":
    main()
