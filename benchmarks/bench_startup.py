"""How long ``kinegraph --help`` and ``kinegraph list`` take, from the shell and back.

torch must not be imported by them. Baselines: Python doing nothing, and importing torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial

from measure import Case, load_average, measure, report

ROUNDS = 15
GOAL = 0.3  # seconds
VERBS = (("--help",), ("list",), ("list", "layouts"), ("train", "--help"))
CHECK = (
    "import sys; from kinegraph.cli import main; code = main(sys.argv[1:]);"
    "sys.exit(code or int('torch' in sys.modules))"
)


def main() -> None:
    load = load_average()
    # Compiled modules as an installed package has them, wherever this checkout keeps its own.
    with tempfile.TemporaryDirectory() as cache:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = cache
        run = partial(
            subprocess.run, env=environment, check=True, stdout=subprocess.DEVNULL, cwd=cache
        )
        for words in VERBS[:2]:
            run([sys.executable, "-c", CHECK, *words])
        cases = [Case("python -c pass", partial(run, [sys.executable, "-c", "pass"]))]
        cases += [
            Case(
                f"kinegraph {' '.join(words)}",
                partial(run, [sys.executable, "-m", "kinegraph", *words]),
                baseline="python -c 'import torch'",
                goal=GOAL if words in VERBS[:2] else None,
            )
            for words in VERBS
        ]
        cases.append(
            Case("python -c 'import torch'", partial(run, [sys.executable, "-c", "import torch"]))
        )
        results = measure(cases, ROUNDS)
    settings = {
        "rounds": ROUNDS,
        "what": "whole processes, compiled modules in place, in turns",
        "torch_imported": "no: checked before timing for kinegraph --help and kinegraph list",
    }
    report("startup", settings, results, load=load)


if __name__ == "__main__":
    main()
