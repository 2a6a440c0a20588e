"""Weights that a command line of an original program names, as a command that converts them.

Place in the flow: whoever translates a line that tests, or that begins from weights, asks.
"""

from __future__ import annotations

import re

from kinegraph.compat.command_words import Line
from kinegraph.compat.original_flags import Data
from kinegraph.compat.original_lines import UNKNOWN, devices, is_contrast, weights_in
from kinegraph.compat.original_settings import Settings
from kinegraph.errors import RecipeError

STORE = "STORE"  # stands for the user's store
OURS = ".safetensors"
NOT_CONVERTED = "a run that kinegraph trained needs no conversion: kinegraph test RUN"


def converted(
    line: Line, system: str, weights: str, *, data: Data | None, stream: str
) -> tuple[tuple[tuple[str, ...], ...], str]:
    """Return what converts weights, and where they are then; ours are taken as they are.

    Args:
        line: The command line.
        system: Whose weights they are, if that is known.
        weights: The file.
        data: The recordings that they belong to; None: what a settings file says is read then.
        stream: Their stream, if the recordings are known.
    """
    if weights.endswith(OURS):
        return (), weights
    return (_conversion(line, system, weights, data, stream),), _converted_file(weights)


def _conversion(
    line: Line, system: str, weights: str, data: Data | None, stream: str
) -> tuple[str, ...]:
    words = ["kinegraph", "convert", weights]
    if system != UNKNOWN:
        words += ["--system", system]
    if data is not None:
        words += ["--stream", stream, *(["--split", data.split] if data.split else [])]
    elif line.one("config"):
        words += ["--config", line.one("config")]
    if data is not None and data.name == "ntu60" and system == "frhead":
        words += ["--classes", "ntu60"]  # whose published heads are for 120
    elif data is not None and data.name in ("pku-mmd", "ntu120") and is_contrast(line):
        words += ["--classes", data.name]  # which pre-trained files do not tell
    elif data is not None and data.group == "kinetics":
        words += ["--classes", STORE]  # whose names no weights tell
    return (*words, "--out", _converted_file(weights))


def tested_weights(line: Line, settings: Settings) -> str:
    """Return the weights that a line, or its settings file, tests.

    Raises:
        RecipeError: It names none.
    """
    if weights := weights_in(line, settings):
        return weights
    raise RecipeError("--phase test needs --weights FILE")


def _converted_file(weights: str) -> str:
    """Return where weights are once they are converted: beside them, or beside their folder."""
    return re.sub(r"\.(pt|pth|pkl)$", "", weights.rstrip("/")) + OURS


def test_words(line: Line, ours: str) -> tuple[str, ...]:
    """Return the words of ``kinegraph test`` for weights of ours, with what the line says.

    Raises:
        RecipeError: Its batch size is no number.
    """
    folder = line.one("work_dir")
    scores = f"{folder.rstrip('/')}/scores.npz" if folder else ours.removesuffix(OURS) + ".npz"
    words = ["kinegraph", "test", ours, "--data.store", STORE, "--out", scores]
    if "test_batch_size" in line.flags:
        size = line.one("test_batch_size")
        if not re.fullmatch(r"0*[1-9]\d{0,8}", size):
            raise RecipeError(f"--test_batch_size {size}: expected a whole number, at least 1")
        words += ["--batch-size", size]
    return (*words, *devices(line))
