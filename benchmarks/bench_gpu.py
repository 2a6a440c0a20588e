"""Everything that is aimed for on one H200, in one command of at most nine minutes.

    make bench-gpu
    PYTHONPATH=src python benchmarks/bench_gpu.py --out FILE.json [--ucla STORE] [--only WORDS]

First whether every kernel is right, forward and backward, against float64; then what the device
does at best; then the goals (`originals.json`); then what each switch, kernel and memory layout
does, and the operations that a step spends its time on, so that a missed goal is explained. Rows
that fail say why and hold up nobody. The result file is written after every row.

``--device cpu --smoke`` goes through all rows with tiny sizes, to test this script. Not yet run on
a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
RESULT = Path(__file__).parent / "results" / "gpu.json"
SECONDS = 525.0  # nine minutes, less what starting and ending takes


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULT, help="result file")
    parser.add_argument("--ucla", type=Path, help="a store of NW-UCLA; default: random recordings")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu with --smoke")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to test this script")
    parser.add_argument("--only", default="", help="rows whose group or name holds these words")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for everything together")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--orders", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    given = arguments()
    sys.path[:0] = [str(SOURCE), str(Path(__file__).parent)]
    if given.device == "cpu":  # where no GPU is, kernels are interpreted
        os.environ.setdefault("TRITON_INTERPRET", "1")
    from gpu_kernels import TIMES, ceiling_rows, check_rows, time_rows
    from gpu_networks import MIXED
    from gpu_networks import rows as network_rows
    from gpu_report import Place, drive, measure_rows, table
    from gpu_ucla import ucla_rows

    order = ("correct", "device", "goals", MIXED, "profile", "switches", TIMES, "sizes", "compiled")
    rows = [*check_rows(), *network_rows(), *ceiling_rows(), *ucla_rows(), *time_rows()]
    rows.sort(key=lambda row: order.index(row.group))  # what matters least comes last
    if given.orders:
        orders = json.loads(given.orders)
        place = Place(given.device, given.smoke, given.folder, given.ucla)
        return measure_rows(
            rows, orders["rows"], place, Path(orders["journal"]), orders["deadline"]
        )
    if problem := unusable(given):
        print(f"bench_gpu: {problem}", file=sys.stderr)
        return 2
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        place = Place(given.device, given.smoke, Path(folder), given.ucla)
        command = [sys.executable, __file__, "--device", given.device, "--folder", folder]
        command += ["--smoke"] * given.smoke
        command += ["--ucla", str(given.ucla)] if given.ucla else []
        only = [
            number
            for number, row in enumerate(rows)
            if any(given.only in text for text in (row.group, *(one.name for one in row.lines)))
        ]
        lines = drive(
            rows, place, [*command, "--orders"], given.out, seconds=given.seconds, only=only
        )
    print(table(lines))
    print(f"{given.out}: {len(lines)} lines in {time.monotonic() - begin:.0f} s")
    return 0


def unusable(given: argparse.Namespace) -> str:
    """Say why nothing can be measured, or nothing."""
    if given.smoke and given.out == RESULT:
        return "--smoke measures nothing: give it an --out of its own"
    if given.device == "cpu":
        return "" if given.smoke else "measures GPUs; --device cpu goes with --smoke alone"
    import torch

    if not torch.cuda.is_available():
        return "no CUDA device is at hand: nothing was measured"
    return ""


if __name__ == "__main__":
    sys.exit(main())
