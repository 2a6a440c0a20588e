"""Rows of `bench_gpu`: what a row is, how it is run without risk to the others, what is kept.

Rows run in a process of their own, which writes a line after each. A row that fails is a line too;
one that takes its process along (an illegal access poisons everything after it) costs that row and
a new process for the rest.
"""

from __future__ import annotations

import gc
import json
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

from measure import FORMAT_VERSION, commit, machine

LIBRARIES = ("numpy", "torch", "triton", "pydantic", "tyro")
ORIGINALS = Path(__file__).parent / "originals.json"
POISONED = 3  # exit code of a process whose device answers nothing any more
LESS_IS_BETTER = ("s", "ms", "%", "GiB", "relative")
GRACE = 20.0  # seconds that a process gets beyond the limit of its row


@dataclass(frozen=True)
class Place:
    """Where rows are measured.

    Attributes:
        device: Name of the device.
        smoke: Everything as small as can be: tests the script, measures nothing.
        folder: For random recordings and runs.
        ucla: A store of NW-UCLA, or None for random recordings of its size.
    """

    device: str
    smoke: bool
    folder: Path
    ucla: Path | None = None

    def size(self, full: int, tiny: int) -> int:
        """Return a size."""
        return tiny if self.smoke else full


@dataclass
class Found:
    """What a row found: the rounds of one number, and whatever explains it."""

    rounds: list[float]
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """One number that a row finds.

    Attributes:
        name: For people.
        unit: ``clips/s``, ``GiB``, ``relative`` ...
        key: Of `originals.json`, where there is a goal.
        goal: What is aimed for.
        must: What is needed at least.
        original: What the original program reaches.
    """

    name: str
    unit: str
    key: str = ""
    goal: float | None = None
    must: float | None = None
    original: float | None = None


@dataclass(frozen=True)
class Row:
    """Something to measure: as many lines as ``run`` returns findings, in their order."""

    group: str
    lines: tuple[Line, ...]
    run: Callable[[Place], Sequence[Found]]
    seconds: float = 60.0


def goal_line(key: str) -> Line:
    """Return the line of a goal of the project."""
    entry = json.loads(ORIGINALS.read_text(encoding="utf-8"))["goals"][key]
    return Line(key=key, **entry)


def verdict(line: Mapping[str, Any]) -> str:
    """Return ``goal``, ``must``, ``missed``, or nothing where there is no limit or no number."""
    value, goal, must = line.get("value"), line.get("goal"), line.get("must")
    if value is None or (goal is None and must is None):
        return ""
    less = line["unit"] in LESS_IS_BETTER

    def holds(limit: float | None) -> bool:
        return limit is not None and (value <= limit if less else value >= limit)

    return "goal" if holds(goal) else "must" if holds(must) else "missed"


# In the process that measures.


class OutOfTime(BaseException):
    """A row took longer than it may; no ``except Exception`` on the way takes it for its own."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block after so many seconds."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_row(number: int, row: Row, place: Place, seconds: float) -> list[dict[str, Any]]:
    """Run a row and return its lines; whatever it fails with is written in them."""
    begin, found, problem = time.monotonic(), [], ""
    try:
        with limited(seconds):
            found = list(row.run(place))
    except (Exception, OutOfTime) as error:
        problem = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
        where = traceback.extract_tb(error.__traceback__)[-1]
        problem += f" ({Path(where.filename).name}:{where.lineno})"
    taken = round(time.monotonic() - begin, 2)
    lines = []
    for position, line in enumerate(row.lines):
        entry = {"row": number, "group": row.group} | asdict(line)
        one = found[position] if position < len(found) else Found([])
        entry["value"] = short(median(one.rounds)) if one.rounds else None
        entry["rounds"] = [short(value) for value in one.rounds]
        entry |= {"details": one.details, "problem": problem, "seconds": taken}
        lines.append(entry)
    return lines


def measure_rows(
    rows: Sequence[Row], numbers: Sequence[int], place: Place, journal: Path, deadline: float
) -> int:
    """Run rows one after another, writing to the journal; return an exit code."""
    with journal.open("a", encoding="utf-8") as file:

        def write(entry: dict[str, Any]) -> None:
            file.write(json.dumps(entry) + "\n")
            file.flush()

        for number in numbers:
            left = deadline - time.time()
            if left < 1:
                break
            write({"begins": number})
            lines = run_row(number, rows[number], place, min(rows[number].seconds, left))
            for line in lines:
                write(line)
            if place.device.startswith("cuda") and "CUDA error" in lines[0]["problem"]:
                return POISONED
            clean_up(place.device)
    return 0


def clean_up(device: str) -> None:
    """Leave nothing on the device for the next row."""
    import torch

    from kinegraph.kernels.dispatch import set_kernels

    set_kernels("auto")
    torch._dynamo.reset()
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


# In the process that watches over it.


def drive(
    rows: Sequence[Row],
    place: Place,
    command: Sequence[str],
    out: Path,
    *,
    seconds: float,
    only: Sequence[int],
) -> list[dict[str, Any]]:
    """Have all rows measured by other processes, and write the result file after each.

    Args:
        rows: All rows there are.
        place: Where.
        command: Starts the process that measures; it gets rows, journal and deadline as JSON.
        out: The result file.
        seconds: For everything together.
        only: Numbers of the rows that are wanted.
    """
    deadline = time.time() + seconds
    journal = place.folder / "journal.jsonl"
    journal.touch()
    header = describe(place, seconds)
    left = list(only)
    while left and time.time() < deadline - 1:
        orders = {"rows": left, "journal": str(journal), "deadline": deadline}
        process = subprocess.Popen([*command, json.dumps(orders)])
        problem = watch(process, rows, journal, lambda: write(out, header, journal, rows, only))
        finished = begun(journal)
        if problem:
            fail(rows, finished, journal, problem)
        if not any(number in finished for number in left):
            break  # it does not even start: the others would not either
        left = [number for number in left if number not in finished]
    for number in left:
        fail(rows, [number], journal, "no time was left")
    return write(out, header, journal, rows, only)


def watch(
    process: subprocess.Popen[bytes], rows: Sequence[Row], journal: Path, look: Callable[[], object]
) -> str:
    """Wait for a process, and end it if a row hangs; say what went wrong, or nothing."""
    last, since = -1, time.monotonic()
    while True:
        try:
            code = process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            look()
            now = (begun(journal) or [-1])[-1]
            if now != last:
                last, since = now, time.monotonic()
            limit = 120.0 if last < 0 else rows[last].seconds + GRACE
            if time.monotonic() - since > limit:
                process.kill()
                process.wait()
                return "it hung and was ended"
        else:
            return "" if code in (0, POISONED) else f"its process ended with code {code}"


def entries(journal: Path) -> list[dict[str, Any]]:
    """Return what has been written to a journal; a line that is being written is left out."""
    lines = journal.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def begun(journal: Path) -> list[int]:
    """Return the numbers of the rows that have begun."""
    return [entry["begins"] for entry in entries(journal) if "begins" in entry]


def fail(rows: Sequence[Row], numbers: Sequence[int], journal: Path, problem: str) -> None:
    """Write lines for rows that have none."""
    told = {entry["row"] for entry in entries(journal) if "row" in entry}
    with journal.open("a", encoding="utf-8") as file:
        for number in numbers:
            if number in told:
                continue
            for line in rows[number].lines:
                entry = {"row": number, "group": rows[number].group} | asdict(line)
                entry |= {"value": None, "rounds": [], "details": {}, "problem": problem}
                file.write(json.dumps(entry | {"seconds": 0.0}) + "\n")


def write(
    out: Path, header: Mapping[str, Any], journal: Path, rows: Sequence[Row], only: Sequence[int]
) -> list[dict[str, Any]]:
    """Write the result file with all lines there are, and return them."""
    lines = sorted((e for e in entries(journal) if "row" in e), key=lambda e: int(e["row"]))
    expected = sum(len(rows[number].lines) for number in only)
    whole = {"complete": len(lines) == expected, "results": lines}
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dict(header) | whole, indent=1, ensure_ascii=False)
    out.write_text(text + "\n", encoding="utf-8")
    return lines


def describe(place: Place, seconds: float) -> dict[str, Any]:
    """Return what a result file says besides the results."""
    return {
        "format_version": FORMAT_VERSION,
        "benchmark": "gpu",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine() | {"device": _device_name(place.device)},
        "versions": {"python": platform.python_version()} | _versions(),
        "settings": {
            "smoke": place.smoke,
            "seconds": seconds,
            "ucla": "real recordings" if place.ucla else "random recordings of the same size",
        },
    }


def _device_name(device: str) -> str:
    # Asked in another process: this one shall hold nothing on the device.
    if not device.startswith("cuda"):
        return device
    code = (
        "import torch; p = torch.cuda.get_device_properties(0);"
        "print(f'{p.name}, {p.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def short(value: float) -> float:
    """Return four digits of a number."""
    return float(f"{value:.4g}")


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return lines for people."""
    head = f"{'':66}{'value':>10}{'goal':>9}{'must':>9}{'original':>9}  "
    text, group = [head], ""
    for line in lines:
        if line["group"] != group:
            group = line["group"]
            text.append(f"{group}:")
        limits = [line[name] for name in ("goal", "must", "original")]
        shown = "".join(f"{'' if n is None else f'{n:,.4g}':>9}" for n in limits)
        value = "failed" if line["value"] is None else f"{line['value']:,.4g}"
        text.append(f"  {line['name'][:64]:64}{value:>10}{shown}  {line['unit']} {verdict(line)}")
        if line["problem"]:
            text.append(f"      {line['problem'][:140]}")
    return "\n".join(text)
