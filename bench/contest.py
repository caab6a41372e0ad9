"""Servers against each other: started, pinned, checked, loaded in turns, and what that cost."""

import contextlib
import http.client
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rivals.page import SpoiledError

BENCH = Path(__file__).parent
ROOT = BENCH.parent
BUILD = ROOT / "build" / "bench"
CORES = sorted(os.sched_getaffinity(0))
SERVER, LOAD = str(CORES[0]), str(CORES[-1])  # the core of each
Headers = Sequence[tuple[str, str]]
TICK = os.sysconf("SC_CLK_TCK")
BROWSER = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "http://127.0.0.1/campaigns/"),
    ("DNT", "1"),
    ("Sec-GPC", "1"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
)
# A run in which other programs had more of a core than this is taken again, so many times.
SHARED, RETAKES = 0.1, 1
PROFILES = {"lean": (), "browser": BROWSER}


@dataclass(frozen=True)
class Contestant:
    """A server: its name in the tables, its command ({port} is filled in), its environment."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def running(self) -> Iterator["Running"]:
        """The server on its core and a free port of 127.0.0.1, until the block ends."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        BUILD.mkdir(parents=True, exist_ok=True)
        command = ["taskset", "-c", SERVER, *(part.format(port=port) for part in self.command)]
        log = BUILD / f"{re.sub(r'[^a-z0-9]+', '-', self.name.lower())}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=ROOT, env={**os.environ, **self.env}
            )
        try:
            until = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                if process.poll() is not None or time.monotonic() > until:
                    raise SpoiledError(f"{self.name} did not start: {log.read_text()[-2000:]}")
                time.sleep(0.05)
            yield Running(self.name, process, port)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise SpoiledError(f"{self.name} did not stop within 30 s") from None


@dataclass(frozen=True)
class Running:
    """A server that runs."""

    name: str
    process: subprocess.Popen[bytes]
    port: int

    def cpu(self) -> float:
        """CPU seconds, user and system, of all its threads up to now."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / TICK

    def rss(self) -> int:
        """Bytes of resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024

    def get(
        self, path: str, headers: Mapping[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body of one GET on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


@dataclass(frozen=True)
class Sample:
    """One run of wrk against one server; times in seconds."""

    requests: int
    rate: float  # requests a second
    cpu: float  # CPU seconds of the server for 1,000 requests
    busy: float  # share of the run in which the server had its core
    foreign: float  # cores that other programs had meanwhile
    p50: float
    p99: float


def wrk(
    running: Running,
    path: str,
    headers: Headers = (),
    seconds: float = 4,
    connections: int = 32,
    *,
    calm: bool = True,
    script: Sequence[str] = (),
) -> Sample:
    """Load `path` from the other core; raises `SpoiledError` on any error.

    An answer that is no 2xx or 3xx is an error; refused, reset or timed out connections are, too:
    a fast server that drops is not fast. `calm` waits for a quiet machine first; `script` is a
    file of Lua that makes the requests, and its arguments.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s"]
    command += ["--latency", *(f"-H{name}: {value}" for name, value in headers)]
    command += ["-s", script[0]] if script else []
    command += [f"http://127.0.0.1:{running.port}{path}"]
    text, cost = _loaded(running, [*command, *(["--", *script[1:]] if script else [])], calm=calm)
    errors = re.findall(r"Socket errors.*|Non-2xx.*", text)
    found = re.search(r"(\d+) requests in", text)
    if errors or found is None or not int(found[1]):
        raise SpoiledError(f"{running.name}: {'; '.join(errors) or text}")
    requests = int(found[1])
    return Sample(
        requests=requests,
        rate=float(re.findall(r"Requests/sec:\s+([\d.]+)", text)[0]),
        cpu=cost.spent / requests * 1000,
        busy=cost.spent / cost.lasted,
        foreign=cost.foreign,
        p50=_seconds(re.findall(r"^ +50% +(\S+)", text, re.MULTILINE)[0]),
        p99=_seconds(re.findall(r"^ +99% +(\S+)", text, re.MULTILINE)[0]),
    )


def ab(
    running: Running,
    path: str,
    requests: int = 20_000,
    connections: int = 100,
    *,
    kept: bool = False,
) -> Sample:
    """The same by `ab`, which makes a new connection for each request unless they are `kept`."""
    command = ["ab", "-q", *(["-k"] if kept else []), f"-c{connections}", f"-n{requests}"]
    text, cost = _loaded(running, [*command, f"http://127.0.0.1:{running.port}{path}"], calm=True)
    done = re.findall(r"Complete requests:\s+(\d+)", text)
    # A length that differs is none: the moment in the answer may get longer.
    failed = re.findall(r"Non-2xx responses:\s+\d+|Connect: [1-9]\d*|Exceptions: [1-9]\d*", text)
    if failed or done != [str(requests)]:
        raise SpoiledError(f"{running.name}: {'; '.join(failed) or text}")
    return Sample(
        requests=requests,
        rate=float(re.findall(r"Requests per second:\s+([\d.]+)", text)[0]),
        cpu=cost.spent / requests * 1000,
        busy=cost.spent / cost.lasted,
        foreign=cost.foreign,
        p50=float(re.findall(r"^ +50% +(\d+)", text, re.MULTILINE)[0]) / 1000,
        p99=float(re.findall(r"^ +99% +(\d+)", text, re.MULTILINE)[0]) / 1000,
    )


@dataclass(frozen=True)
class Cost:
    """Of one load, in seconds: CPU of the server, cores that other programs had, and all of it."""

    spent: float
    foreign: float
    lasted: float


def _loaded(running: Running, command: Sequence[str], *, calm: bool) -> tuple[str, Cost]:
    """What a load generator on its core says, and what it cost."""
    if calm:
        _calm()
    before = running.cpu(), _used(), _children(), time.monotonic()
    command = ["taskset", "-c", LOAD, *command]
    done = subprocess.run(command, capture_output=True, text=True)
    after = running.cpu(), _used(), _children(), time.monotonic()
    spent, used, loading, lasted = (late - early for early, late in zip(before, after, strict=True))
    foreign = max(0.0, used - spent - loading) / lasted
    return done.stdout + done.stderr, Cost(spent, foreign, lasted)


def _seconds(text: str) -> float:
    number, unit = re.findall(r"([\d.]+)(\w+)", text)[0]
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


def _used() -> float:
    """CPU seconds that the cores of server and load have worked, for whomever."""
    total = 0
    for core in {SERVER, LOAD}:
        line = re.findall(rf"^cpu{core} (.*)$", Path("/proc/stat").read_text(), re.MULTILINE)[0]
        user, nice, system, _idle, _wait, irq, soft, *_ = map(int, line.split())
        total += user + nice + system + irq + soft
    return total / TICK


def _children() -> float:
    """CPU seconds of the programs that this one has run to their ends."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _calm(patience: float = 5) -> None:
    """Wait, within limits, until nothing else works on the two cores."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        used = _used()
        time.sleep(0.25)
        if _used() - used < 0.05:
            return


def contest(
    chosen: Sequence[Contestant], rounds: int, measure: Callable[[Running], Sample]
) -> dict[str, Sample]:
    """The median of each contestant, all started anew in every round, each round from another."""
    samples: dict[str, list[Sample]] = {each.name: [] for each in chosen}
    for number in range(rounds):
        first = number % len(chosen)
        for each in (*chosen[first:], *chosen[:first]):
            with each.running() as running:
                try:
                    sample = measure(running)
                    for _ in range(RETAKES):
                        if sample.foreign <= SHARED:
                            break
                        sample = min(sample, measure(running), key=lambda each: each.foreign)
                except (SpoiledError, OSError) as error:
                    raise SpoiledError(f"{each.name}: {error}") from None
            samples[each.name].append(sample)
            told = f"{sample.rate:,.0f} req/s, {sample.cpu:.5f} CPU s, foreign {sample.foreign:.0%}"
            print(f"{number + 1}. {each.name}: {told}", file=sys.stderr)
    return {name: median(runs) for name, runs in samples.items()}


def median(samples: Sequence[Sample]) -> Sample:
    """The median of each figure."""
    columns = zip(*(asdict(sample).values() for sample in samples), strict=True)
    return Sample(*map(statistics.median, columns))


def ours(data: str, *, sample: bool = False, **settings: object) -> Contestant:
    """Our own server, as its owner starts it, over data folder `data`."""
    serve = [sys.executable, "server.py", "serve", "--port", "{port}", "--data", data]
    env = {f"MARQUEE_{name.upper()}": str(value) for name, value in settings.items()}
    return Contestant("marquee", serve + ["--sample"] * sample, env)


def own(data: Path, name: str = "bench") -> tuple[Contestant, str]:
    """Our server, and the token of a new app in its data folder."""
    command = [sys.executable, "server.py", "app", "create", name, "--data", str(data), "--json"]
    made = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return ours(str(data)), json.loads(made.stdout)["secret_token"]


@contextlib.contextmanager
def folder(data: str | None, banners: str | None, **settings: object) -> Iterator[Contestant]:
    """Our server over `data`, or over a new folder with `banners` imported, or the sample."""
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as new:
        if banners:
            command = [sys.executable, "server.py", "import", banners, "--data", new]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        yield ours(data or new, sample=not (data or banners), **settings)


def files() -> None:
    """As many open files as the system lets this process and its children have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
