"""Write docs/performance.md and its picture from the results in ``benchmarks``.

.venv/bin/python tools/performance_page.py [--check]

With ``--check`` nothing is written; the exit code says whether the page is what it would be.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "images" / "performance-scaling.svg"

sys.path.insert(0, str(BENCHMARKS))

from gpu_report import verdict  # noqa: E402 - a module beside the benchmarks

Document = Mapping[str, Any]
NOT_RUN = "not yet run on a GPU"
VERDICTS = {"goal": "reached", "must": "enough, below the goal", "missed": "**missed**"}
SERIES = ("narrow, training", "narrow, inference", "full, training", "full, inference")

HEAD = """\
# Performance

<!-- written by `make performance` from the results in benchmarks/: change those, not this page -->

How fast your machine is, for any recipe, with memory, phases and the distance to what the device
can do:

```bash
kinegraph bench ctrgcn
kinegraph bench ctrgcn --batch-size 16 64 256 --training.precision bf16 --out bench.json
```

Everything below was measured by scripts in [benchmarks](../benchmarks/README.md), which says how to
read it. Result files have every round, the machine, the versions and the commit.
`make performance` writes this page from them. A goal is what was aimed for; what is needed is the
least that counts as enough.
"""

GOALS = """\
## On one H200

Clips of 25 joints and 2 people in every clip, 64 frames, ST-GCN 300; training steps are whole ones,
with the making of their batches. The figures of the original programs are from the same kind of
machine, without their data loading; of several, the best is in the table. On NW-UCLA they take 65
epochs of about 30 s each.

```bash
make bench-gpu    # all of this in under nine minutes; UCLA=STORE takes real recordings
```
"""

SWITCHES = """\
## What switches do to accuracy

The joint stream of the demo's set, trained with and without each switch of `training`. A switch
agrees if it moves the mean by less than the standard deviation of plain runs over seeds. `auto`
never compiles on a CPU (docs/adr/0013-execution-switches.md).

```bash
python tools/switches.py --out runs/switches
```
"""

GROWTH = """\
## How cost grows

CTR-GCN in fp32 on one core of a CPU, full (64 channels) and narrow (16), where one size is changed
and the others stay at {usual}.
Clips per second, by processor time: other programs on the machine stretch that least. Inference is
of frozen networks, on batches that are made.

```bash
python benchmarks/bench_scaling.py
```

![Clips per second against frames, joints, people and batch](images/{picture})
"""

DATA_GROWTH = """\
Making batches from a store does not depend on how many clips it has; a short epoch ends before its
first batch has paid for itself.
"""

WORDS = ("", "unit", "what", "network", "operation", "compared with", "beside it")
ORDER = (
    "cpu", "backbones", "data", "transforms", "store", "import", "ntu", "large", "fuzz", "startup",
)  # fmt: skip
SCRIPTS = {"fuzz": "fuzz_readers"}  # others are named after their result
TITLES = {
    "cpu": "On a CPU",
    "backbones": "Every backbone on a CPU",
    "data": "From a store to batches",
    "transforms": "Sampling, augmenting, streams",
    "store": "Opening a store",
    "import": "Importing",
    "ntu": "Importing NTU RGB+D",
    "large": "Large data sets",
    "fuzz": "Readers under damaged files",
    "startup": "Starting",
}


def number(value: float | None) -> str:
    """Return a number with up to four digits, or nothing."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, words to the left and numbers to the right."""
    yield f"| {' | '.join(headings)} |"
    yield f"|{'|'.join('---' if heading in WORDS else '---:' for heading in headings)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def origin(document: Document) -> str:
    """Say when and where a result was measured."""
    machine, load = document["machine"], document.get("load_average")
    where = machine.get("device") or f"{machine['cores']} cores of {machine['cpu']}"
    versions = document["versions"]
    words = [f"{document['date'][:10]}, commit `{document['commit']}`, {where}"]
    words.append(f"torch {versions['torch']}, Python {versions['python']}")
    if load is not None:
        words.append(f"load {load['before']} to {load['after']}")
    return "Measured " + "; ".join(words) + "."


def goals(originals: Document, gpu: Document | None) -> Iterator[str]:
    """Yield the lines of what is aimed for on a GPU, and of what was reached."""
    found = {line["key"]: line for line in (gpu or {}).get("results", ()) if line["key"]}
    yield GOALS
    rows = [
        (
            entry["name"],
            *(number(entry[limit]) for limit in ("original", "goal", "must")),
            entry["unit"],
            *_reached(found.get(key)),
        )
        for key, entry in originals["goals"].items()
    ]
    headings = ("", "original", "goal", "needed", "unit", "measured", "")
    yield from grid(headings, rows)
    if gpu is None:
        yield (
            "Not yet run on a GPU: no machine with one was at hand. The command above measures"
            " every row."
        )
        yield ""
    else:
        yield origin(gpu)
        yield ""
        yield from gpu_details(gpu)
    yield "The original programs:"
    yield ""
    figures = [
        (figure["network"], figure["what"], number(figure["value"]), figure["unit"])
        for figure in originals["figures"]
    ]
    yield from grid(("network", "what", "measured", "unit"), figures)


def _reached(line: Document | None) -> tuple[str, str]:
    if line is None:
        return NOT_RUN, ""
    if line["value"] is None:
        return "failed", line["problem"]
    return number(line["value"]), VERDICTS.get(verdict(line), "")


def gpu_details(gpu: Document) -> Iterator[str]:
    """Yield everything that a GPU's result has besides the goals."""
    groups: dict[str, list[Document]] = {}
    for line in gpu["results"]:
        if not line["key"]:
            groups.setdefault(line["group"], []).append(line)
    for group, lines in groups.items():
        if group == "correct":
            right = [line for line in lines if verdict(line) in ("goal", "must")]
            yield (
                f"{len(right)} of {len(lines)} comparisons of kernels and networks with float64 are"
                " within their limits, forward and backward."
            )
            yield ""
            lines = [line for line in lines if line not in right]
            if not lines:
                continue
        yield f"### {group.capitalize()}"
        yield ""
        rows = [(line["name"], *_measured(line), _beside(line["details"])) for line in lines]
        yield from grid(("", "measured", "unit", "beside it"), rows)
        for line in lines:
            if "top" in line["details"]:
                yield f"{line['name']}; the operations that take longest:"
                yield ""
                top = [
                    (f"`{one['name'].replace('|', '/')}`", str(one["calls"]), number(one["ms"]))
                    for one in line["details"]["top"]
                ]
                yield from grid(("operation", "calls", "ms"), top)


def _measured(line: Document) -> tuple[str, str]:
    if line["value"] is None:
        return "failed: " + line["problem"].replace("|", "/"), line["unit"]
    return number(line["value"]), line["unit"]


def _beside(details: Document) -> str:
    """Return what explains a number, in a few words."""
    words = {
        "peak_gib": "{} GiB", "plain_ms": "plain {} ms", "gb_per_s": "{} GB/s",
        "tflop_per_s": "{} TFLOP/s", "first_step_seconds": "first step {} s",
    }  # fmt: skip
    known = ((text, details.get(name)) for name, text in words.items())
    return ", ".join(text.format(number(value)) for text, value in known if value is not None)


def switches(document: Document) -> Iterator[str]:
    """Yield the lines about accuracy with and without each switch."""
    yield SWITCHES
    yield (
        f"{document['epochs']} epochs on {document['device']}; {document['date'][:10]}, commit"
        f" `{document['commit']}`."
    )
    yield ""
    rows = [
        (
            row["name"], f"{row['mean']:.2%}", f"{row['deviation']:.2%}",
            f"{row['difference']:+.2%}", "yes" if row["agrees"] else "**no**",
            f"{row['epoch_seconds']} s",
        )
        for row in document["results"]
    ]  # fmt: skip
    yield from grid(("", "accuracy", "over seeds", "difference", "agrees", "an epoch"), rows)


def growth(document: Document) -> Iterator[str]:
    """Yield the lines about how cost grows."""
    settings = document["settings"]
    usual = settings["usual"]
    words = (
        f"{usual['frames']} frames, {usual['joints']} joints, {usual['people']} person and a batch"
        f" of {usual['batch']}"
    )
    yield GROWTH.format(usual=words, picture=PICTURE.name)
    points = {row["name"]: row["processor_median"] for row in document["results"]}
    for axis, values in settings["axes"].items():
        if axis == "clips":
            yield DATA_GROWTH
            rows = [(number(v), number(points[f"data, batches, clips, {v}"])) for v in values]
            yield from grid(("clips in the store", "batches, clips/s"), rows)
            continue
        rows = [(str(v), *(number(points[f"{s}, {axis}, {v}"]) for s in SERIES)) for v in values]
        yield from grid((axis, *SERIES), rows)
    yield origin(document)
    yield ""


def plain_results(name: str, document: Document) -> Iterator[str]:
    """Yield the lines of any result file."""
    script = f"benchmarks/{SCRIPTS.get(name, f'bench_{name}')}.py"
    yield f"## {TITLES.get(name, name.capitalize())}"
    yield ""
    yield f"```bash\npython {script}\n```"
    yield ""
    rows = []
    for row in document["results"]:
        beside = "" if row["ratio"] is None else f"{row['ratio']:.3g}x {row['baseline']}"
        rows.append((row["name"], number(row["median"]), row["unit"], beside, number(row["goal"])))
    yield from grid(("", "median", "unit", "compared with", "goal"), rows)
    yield origin(document)
    yield ""


def page(
    results: Mapping[str, Document], originals: Document, accuracy: Document | None = None
) -> str:
    """Return the page.

    Args:
        results: Name of a benchmark -> its result file.
        originals: Figures of the original programs, and goals.
        accuracy: What `tools/switches.py` wrote, where it has been run.
    """
    gpu = results.get("gpu")
    lines = [HEAD, *goals(originals, None if gpu is None or gpu["settings"]["smoke"] else gpu)]
    if accuracy is not None:
        lines += switches(accuracy)
    if "scaling" in results:
        lines += growth(results["scaling"])
    special = ("gpu", "scaling")
    others = sorted(set(results) - set(special) - set(ORDER))
    for name in (*ORDER, *others):
        if name in results:
            lines += plain_results(name, results[name])
    return "\n".join(lines).rstrip() + "\n"


def draw(document: Document, out: Path) -> None:
    """Draw how cost grows; the same result gives the same file, which names its result's date."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "kinegraph"
    axes = {k: v for k, v in document["settings"]["axes"].items() if k != "clips"}
    points = {row["name"]: row["processor_median"] for row in document["results"]}
    figure, plots = plt.subplots(1, len(axes), figsize=(11, 3), layout="constrained", sharey=True)
    for plot, (axis, values) in zip(plots, axes.items(), strict=True):
        for colour, name in enumerate(SERIES):
            plot.plot(
                values,
                [points[f"{name}, {axis}, {value}"] for value in values],
                marker="o",
                markersize=3,
                color=f"C{colour // 2}",
                linestyle="--" if colour % 2 else "-",
                label=name,
            )
        plot.set_xscale("log", base=2)
        plot.set_yscale("log")
        plot.set_xticks(values, [str(value) for value in values])
        plot.minorticks_off()
        plot.set_xlabel(axis)
        plot.grid(alpha=0.3)
        plot.spines[["top", "right"]].set_visible(False)
    plots[0].set_ylabel("clips/s")
    plots[-1].legend(frameon=False, fontsize="small")
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, metadata={"Date": None, "Description": stamp(document)})
    plt.close(figure)


def stamp(document: Document) -> str:
    """Return what tells a picture's result from another one."""
    return f"benchmarks/results/scaling.json of {document['date']}"


def load() -> tuple[dict[str, Document], Document, Document | None]:
    """Read all result files: by name, the originals' figures, and accuracy where it is known."""
    files = sorted((BENCHMARKS / "results").glob("*.json"))
    results = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
    originals = json.loads((BENCHMARKS / "originals.json").read_text(encoding="utf-8"))
    accuracy = BENCHMARKS / "accuracy" / "switches.json"
    known = json.loads(accuracy.read_text(encoding="utf-8")) if accuracy.is_file() else None
    return results, originals, known


def main(words: Sequence[str]) -> int:
    """Write the page, or check it."""
    results, originals, accuracy = load()
    text = page(results, originals, accuracy)
    if "--check" in words:
        fresh = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
        if not fresh:
            print(f"{PAGE.name} is not what the results say: make performance", file=sys.stderr)
        return 0 if fresh else 1
    PAGE.write_text(text, encoding="utf-8")
    if "scaling" in results:
        draw(results["scaling"], PICTURE)
    print(f"{PAGE}: {len(text.splitlines())} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
