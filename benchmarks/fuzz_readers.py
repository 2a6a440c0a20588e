"""Gives damaged recordings to every reader: more than 100,000 of them, made from small whole ones.

```
.venv/bin/python benchmarks/fuzz_readers.py                     # all formats, about ten minutes
.venv/bin/python benchmarks/fuzz_readers.py --only pyskl --inputs 5000 --keep FOLDER
```

A reader may give clips or refuse with a typed error in one line. Anything else, more than a second
or more than 256 MB for a file is a finding; the program then ends with 1, and ``--keep`` leaves the
files of each. Sources that reach a line of a reader for the first time are damaged further. Every
round of a format is a process of its own, with an own seed and limited memory.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fuzzing.damage import damage
from fuzzing.lines import LineCounter
from fuzzing.reading import SECONDS, Outcome, peak_megabytes, read_source, serving
from fuzzing.seeds import KINDS, Source, missing_kinds, seeds_of
from measure import Result, load_average, report

INPUTS = 105_000
ROUNDS = 3
ADDRESS_SPACE = 4 << 30  # bytes above what the libraries take: a belief in a huge size fails
IN_MEMORY = Path("/dev/shm")  # sources are written there where it is
CORPUS = 300  # damaged sources that are damaged further
DETECTED = 5  # of so many sources one is recognised first


@dataclass
class Tally:
    """What came of many sources of one format.

    Attributes:
        inputs: How many there were.
        past_header: How many reached a recording's numbers.
        accepted: How many gave at least one clip.
        errors: Type -> how many sources ended in it, or a recording of them.
        lines: Module -> lines that ran, lines that there are.
        missing: Module -> lines that never ran.
        slowest: Seconds of the slowest.
        megabytes: What the largest memory grew by.
        problems: What should not have happened.
    """

    inputs: int = 0
    past_header: int = 0
    accepted: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    lines: dict[str, tuple[int, int]] = field(default_factory=dict)
    missing: dict[str, list[int]] = field(default_factory=dict)
    slowest: float = 0.0
    megabytes: float = 0.0
    problems: list[str] = field(default_factory=list)


def fuzz(
    name: str, inputs: int, seed: int, place: Path, keep: Callable[[str], None] | None = None
) -> Tally:
    """Damage sources of a format and read them.

    Args:
        name: The format.
        inputs: How many damaged sources are read.
        seed: Of all that is random.
        place: A folder in which each lies while it is read.
        keep: Is told of each problem while the files are still in ``place``.
    """
    chance = random.Random(f"{name} {seed}")
    counter = LineCounter(KINDS[name].modules)
    unknown = [function for function in KINDS[name].past if not counter.knows(function)]
    assert not unknown, f"{unknown} are no functions of the reader"
    seeds = seeds_of(name)
    corpus: list[Source] = []
    tally = Tally()
    with serving(name):
        for source in seeds:
            _expect_whole(source, place, counter)
        memory = peak_megabytes()
        for number in range(inputs):
            source = damage(chance.choice(corpus if corpus and number % 2 else seeds), chance)
            counter.fresh = False
            outcome = _read(source, place, counter, detect=number % DETECTED == 0)
            reached = not counter.entered.isdisjoint(KINDS[name].past)
            _count(tally, outcome, reached=reached)
            if outcome.problem:
                tally.problems.append(f"{outcome.problem} (seed {seed}, input {number})")
                if keep is not None:
                    keep(f"{name}-{seed}-{number}")
            elif counter.fresh and reached and len(corpus) < CORPUS:
                corpus.append(source)
        tally.megabytes = peak_megabytes() - memory
    tally.lines, tally.missing = counter.shares(), counter.missing()
    return tally


def _read(source: Source, place: Path, counter: LineCounter, *, detect: bool) -> Outcome:
    counter.entered.clear()
    with counter:
        outcome = read_source(source, place, detect=detect)
    for _ in range(3):  # what is compiled or collected meanwhile is no finding
        if outcome.problem or outcome.seconds <= SECONDS:
            return outcome
        outcome = read_source(source, place, detect=detect)
    outcome.problem = outcome.problem or f"took {outcome.seconds:.1f} s"
    return outcome


def _expect_whole(source: Source, place: Path, counter: LineCounter) -> None:
    """Stop where a whole source is not read: nothing could be learnt from damaged ones."""
    outcome = _read(source, place, counter, detect=False)
    if outcome.problem or outcome.errors or not outcome.accepted:
        raise SystemExit(f"a whole source of {source.format} ({source.form}) fails: {outcome}")
    if counter.entered.isdisjoint(source.past):
        raise SystemExit(f"a whole source of {source.format} enters none of {source.past}")


def _count(tally: Tally, outcome: Outcome, *, reached: bool) -> None:
    tally.inputs += 1
    tally.past_header += reached
    tally.accepted += outcome.accepted > 0
    tally.errors.update(set(outcome.errors))
    tally.slowest = max(tally.slowest, outcome.seconds)


def run_round(name: str, inputs: int, keep: Path | None, seed: int) -> Tally:
    """Run `fuzz` in a process of its own, which may die of what it reads."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as place:
        words = [name, str(inputs), str(seed), place, str(keep or "")]
        done = subprocess.run(
            [sys.executable, __file__, "--round", *words], capture_output=True, text=True
        )
        if done.returncode == 0:
            fields = json.loads(done.stdout.splitlines()[-1])
            return Tally(**{**fields, "errors": Counter(fields["errors"])})
        last = done.stderr.strip().splitlines()[-1:] or [""]
        if keep is not None:
            shutil.copytree(place, keep / f"{name}-{seed}-ended", dirs_exist_ok=True)
    return Tally(inputs=1, problems=[f"the process ended with {done.returncode}: {last[0][:300]}"])


def one_round(name: str, inputs: int, seed: int, place: Path, keep: Path | None) -> None:
    """Do one round in this process, with limited memory, and print what came of it."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def put_aside(what: str) -> None:
        if keep is not None:
            shutil.copytree(place / "it", keep / what, dirs_exist_ok=True)

    print(json.dumps(vars(fuzz(name, inputs, seed, place / "it", put_aside))))


def merged(rounds: list[Tally]) -> dict[str, Any]:
    """Return what came of all rounds of a format, as the result file has it."""
    inputs = sum(each.inputs for each in rounds)
    errors: Counter[str] = sum((each.errors for each in rounds), Counter())
    return {
        "inputs": inputs,
        "past_header": round(sum(each.past_header for each in rounds) / inputs, 4),
        "accepted": round(sum(each.accepted for each in rounds) / inputs, 4),
        "errors": dict(errors.most_common()),
        "lines": lines_of(rounds),
        "problems": [problem for each in rounds for problem in each.problems],
    }


def lines_of(tallies: list[Tally]) -> dict[str, dict[str, Any]]:
    """Return how many lines each module has, and what share of them ran in any of the rounds."""
    never: dict[str, set[int]] = {}
    totals: dict[str, int] = {}
    for each in tallies:
        for module, (_, total) in each.lines.items():
            missing = set(each.missing.get(module, ()))
            never[module] = never[module] & missing if module in never else missing
            totals[module] = total
    return {
        module: {"lines": total, "share": round(1 - len(never[module]) / total, 4)}
        for module, total in totals.items()
    }


def results_of(name: str, rounds: list[Tally]) -> list[Result]:
    """Return the slowest source and the memory of each round."""
    return [
        Result(f"{name}, slowest source", "s", [each.slowest for each in rounds], goal=SECONDS),
        Result(f"{name}, memory", "MB", [max(each.megabytes, 0.1) for each in rounds]),
    ]


def show(name: str, found: dict[str, Any]) -> None:
    """Print what came of a format."""
    errors = ", ".join(f"{kind} {count}" for kind, count in found["errors"].items())
    print(
        f"{name:12}{found['inputs']:8,} sources, {found['past_header']:6.1%} past the header,"
        f" {found['accepted']:6.1%} accepted; {errors}"
    )
    for module, each in found["lines"].items():
        print(f"{'':12}{each['share']:8.1%} of {each['lines']:4} lines of {module}")
    for problem in found["problems"][:10]:
        print(f"{'':12}FOUND {problem}")
    if len(found["problems"]) > 10:
        print(f"{'':12}and {len(found['problems']) - 10} more")


def main() -> int:
    load = load_average()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--inputs", type=int, default=INPUTS, help="damaged sources in all")
    parser.add_argument("--only", action="append", choices=[*KINDS], help="one format; no result")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--keep", type=Path, help="folder for the files of each finding")
    parser.add_argument("--processes", type=int, default=1, help="rounds at the same time")
    parser.add_argument("--round", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.round:
        name, inputs, seed, place, keep = given.round
        one_round(name, int(inputs), int(seed), Path(place), Path(keep) if keep else None)
        return 0
    if missing_kinds():
        raise SystemExit(f"no seeds for {', '.join(missing_kinds())}")
    names = given.only or list(KINDS)
    each = -(-given.inputs // (len(names) * ROUNDS))
    found: dict[str, Any] = {}
    results: list[Result] = []
    tallies: list[Tally] = []
    for name in names:
        one = partial(run_round, name, each, given.keep)
        with ThreadPoolExecutor(given.processes) as pool:
            rounds = list(pool.map(one, range(given.seed, given.seed + ROUNDS)))
        found[name] = merged(rounds)
        tallies += rounds
        results += results_of(name, rounds)
        show(name, found[name])
    total = sum(format_["inputs"] for format_ in found.values())
    print(f"{total:,} damaged sources")
    if not given.only:
        settings = {
            "rounds": ROUNDS, "seed": given.seed, "processes": given.processes, "inputs": total,
            "lines": lines_of(tallies), "formats": found,
        }  # fmt: skip
        report("fuzz", settings, results, load=load)
    return 1 if any(format_["problems"] for format_ in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
