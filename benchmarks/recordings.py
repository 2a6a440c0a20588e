"""Made recordings in the form and size of Northwestern-UCLA: 1484 JSON files, 38 MB of text."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson

UCLA_CLIPS = 1484
ACTIONS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)


def recordings() -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file; lengths are spread as in the real set, 1 to 201."""
    random = np.random.default_rng(0)
    for number in range(UCLA_CLIPS):
        label = number % 10
        turn = number // 10
        name = f"a{ACTIONS[label]:02}_s{turn % 10 + 1:02}_e{turn // 30:02}_v{turn % 3 + 1:02}"
        frames = int(np.clip(random.lognormal(3.45, 0.66), 1, 201))
        joints = np.round(random.normal(0, 0.5, (frames, 20, 3)), 6).tolist()
        fields = {"file_name": name, "skeletons": joints, "label": label + 1}
        yield name, orjson.dumps(fields)


def make_folder(folder: Path) -> None:
    """Write the recordings as files of a folder."""
    folder.mkdir()
    for name, text in recordings():
        (folder / f"{name}.json").write_bytes(text)


def make_zip(path: Path) -> None:
    """Write the recordings as a compressed archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in recordings():
            archive.writestr(f"all_sqe/{name}.json", text)
