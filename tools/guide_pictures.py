"""Draw the pictures of the guides, each computed by the library: no number is made up.

.venv/bin/python tools/guide_pictures.py NAME FILE.svg
.venv/bin/python tools/guide_pictures.py --all docs/images

Names: st-gcn, ctr-gcn, infogcn, fr-head, lst. Those that need a trained network train one on the
synthetic recordings of `kinegraph demo`, on one core, with a fixed seed, in one to three minutes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same sums in the same order

from pictures import ctr_gcn, fr_head, infogcn, lst, st_gcn

from kinegraph.inference.draw import save_figure

PICTURES = {
    "st-gcn": st_gcn.draw,
    "ctr-gcn": ctr_gcn.draw,
    "infogcn": infogcn.draw,
    "fr-head": fr_head.draw,
    "lst": lst.draw,
}


def main(words: list[str]) -> None:
    """Draw one picture into a file, or all of them into a folder."""
    if len(words) != 2 or (words[0] != "--all" and words[0] not in PICTURES):
        names = ", ".join(PICTURES)
        sys.exit(f"usage: guide_pictures.py NAME FILE | --all FOLDER, where NAME is one of {names}")
    chosen, out = words[0], Path(words[1])
    files = {name: out / f"{name}.svg" for name in PICTURES} if chosen == "--all" else {chosen: out}
    for name, file in files.items():
        with TemporaryDirectory() as folder:
            save_figure(file, PICTURES[name](Path(folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
