"""The forms in which other programs write their scores, brought to names, scores and labels.

Place in the flow: ``scores`` hands over what ``pickles`` read. This module knows the shapes of
those files (a dict per clip name, MMAction2's list of dicts, pairs of names and scores) and nothing
of stores, classes or metrics.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.errors import ScoreError

NAME_KEYS = ("name", "names", "sample_name", "frame_dir", "filename")
SCORE_KEYS = ("logits", "score", "scores", "pred_score", "pred_scores")
LABEL_KEYS = ("label", "labels", "gt_label", "gt_labels")
_INDEXED_NAME = re.compile(r"(?:(?:train|test|val)_)?(\d{1,9})")
_FORMS = (
    "a dict {clip: scores}, a list of dicts as MMAction2 dumps it, (names, scores) or"
    " {'names': ..., 'logits': ...}"
)


@dataclass(frozen=True)
class ForeignScores:
    """The contents of a score file of another program.

    Attributes:
        keys: (N) clip names, or indices into a list of clips that the file does not hold.
        logits: (N, num_classes) scores, float32.
        labels: (N,) classes, or None where the file holds none.
    """

    keys: tuple[str | int, ...]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64] | None


def parse_foreign(content: Any, *, where: str) -> ForeignScores:
    """Recognise the form of an unpickled score file.

    Raises:
        ScoreError: It has none of the known forms, no clips, or rows of different lengths.
    """
    if isinstance(content, dict):
        names, scores = _column(content, NAME_KEYS), _column(content, SCORE_KEYS)
        if names is not None and scores is not None:
            return _table(names, scores, _column(content, LABEL_KEYS), where)
        return _table(list(content), list(content.values()), None, where)
    if isinstance(content, list | tuple) and len(content) in (2, 3) and _are_keys(content[0]):
        return _table(content[0], content[1], content[2] if len(content) == 3 else None, where)
    if isinstance(content, list) and content and all(isinstance(item, dict) for item in content):
        return _rows(content, where)
    if isinstance(content, list | np.ndarray):
        return _table(range(len(content)), content, None, where)
    raise ScoreError(f"'{where}' holds a {type(content).__name__}, no score file; known: {_FORMS}")


def names_from_order(
    keys: Sequence[str | int], order: Sequence[str] | None, *, where: str
) -> list[str]:
    """Turn the keys of a file into clip names.

    Args:
        keys: Names, or indices (also written as ``test_12``) into ``order``.
        order: Clip names in the order of that program's test list, or None.
        where: The file, for errors.

    Returns:
        Clip names. Without ``order`` an index i becomes ``#i``, which no clip is called.

    Raises:
        ScoreError: The file does not hold exactly the clips of ``order``.
    """
    if order is None:
        return [key if isinstance(key, str) else f"#{key}" for key in keys]
    indices = [_index(key) for key in keys]
    if set(keys) == set(order):
        names = [str(key) for key in keys]
    elif None in indices:
        stranger = next(key for key in keys if key not in set(order))
        raise ScoreError(
            f"'{where}' and the order file do not hold the same clips: '{stranger}' is neither an"
            f" index nor among the {len(order)} names of the order file"
        )
    else:
        outside = [i for i in indices if i is not None and i >= len(order)]
        if outside or len(indices) != len(order):
            found = f"index {outside[0]}" if outside else f"{len(indices)} clips"
            raise ScoreError(
                f"'{where}' has {found}, but the order file names {len(order)} clips"
                f" (0..{len(order) - 1}); it must name the clips of exactly this file"
            )
        names = [order[i] for i in indices if i is not None]
    return names


def _index(key: str | int) -> int | None:
    if isinstance(key, int):
        return key
    match = _INDEXED_NAME.fullmatch(key)
    return int(match[1]) if match else None


def _column(content: Mapping[Any, Any], keys: Sequence[str]) -> Any:
    """Return the value under the first of ``keys`` that is there, or None."""
    value = next((content[key] for key in keys if key in content), None)
    if isinstance(value, dict) and len(value) == 1:  # MMAction2 1.0: {'item': tensor}
        return next(iter(value.values()))
    return value


def _are_keys(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "SU"
    return isinstance(value, list | tuple) and all(isinstance(key, str | bytes) for key in value)


def _rows(content: list[dict[Any, Any]], where: str) -> ForeignScores:
    """Read a list with one dict per clip."""
    columns = [
        [_column(row, keys) for row in content] for keys in (NAME_KEYS, SCORE_KEYS, LABEL_KEYS)
    ]
    names, scores, labels = columns
    if any(row is None for row in scores):
        found = ", ".join(map(str, list(content[scores.index(None)])[:8]))
        raise ScoreError(
            f"'{where}': a clip has none of the keys {', '.join(SCORE_KEYS)} (found: {found})"
        )
    keys = range(len(content)) if any(name is None for name in names) else names
    return _table(keys, scores, None if any(y is None for y in labels) else labels, where)


def _table(keys: Any, scores: Any, labels: Any, where: str) -> ForeignScores:
    rows = [_numbers(row, where) for row in scores]
    sizes = {row.size for row in rows}
    if len(sizes) != 1 or sizes == {0}:
        found = "no clips" if not rows else f"rows of {sorted(sizes)[:4]} scores"
        raise ScoreError(f"'{where}' has {found}; expected one score per class for every clip")
    if len(keys) != len(rows):
        raise ScoreError(f"'{where}' names {len(keys)} clips but has scores of {len(rows)}")
    return ForeignScores(
        keys=tuple(_key(key, where) for key in keys),
        logits=np.stack(rows).astype(np.float32),
        labels=None if labels is None else _labels(labels, len(rows), where),
    )


def _numbers(row: Any, where: str) -> NDArray[Any]:
    """Return one clip's scores, (num_classes,); a leading axis of length 1 is dropped."""
    if isinstance(row, list | tuple) and not all(isinstance(n, int | float) for n in row):
        raise ScoreError(f"'{where}': the scores of a clip are not numbers; known: {_FORMS}")
    array = np.asarray(row)
    if array.dtype.kind not in "fiu" or array.ndim == 0 or array.size != array.shape[-1]:
        raise ScoreError(
            f"'{where}': the scores of a clip are {type(row).__name__} of shape {array.shape},"
            f" expected (num_classes,); known: {_FORMS}"
        )
    return array.reshape(-1)


def _labels(labels: Any, count: int, where: str) -> NDArray[np.int64]:
    arrays = [np.asarray(label) for label in labels]
    if len(arrays) != count or any(a.size != 1 or a.dtype.kind not in "iu" for a in arrays):
        raise ScoreError(f"'{where}': expected one whole number as label for each of {count} clips")
    return np.array([a.item() for a in arrays], dtype=np.int64)


def _key(key: Any, where: str) -> str | int:
    if isinstance(key, bytes):
        return key.decode("utf-8", errors="replace")
    if isinstance(key, str):
        return key
    if isinstance(key, int | np.integer) and not isinstance(key, bool) and key >= 0:
        return int(key)
    raise ScoreError(
        f"'{where}': a clip is called by a {type(key).__name__}, expected a name or an index"
    )
