"""Medians of what is there: NaN stands for what was not seen, and is left out without a warning."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def middle(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return the lower median along an axis, of what is not NaN; NaN where nothing else is."""
    ordered = np.sort(values, axis=axis)  # NaN goes to the end
    count = np.isfinite(values).sum(axis=axis, keepdims=True)
    place = np.maximum(count - 1, 0) // 2
    return np.asarray(np.take_along_axis(ordered, place, axis=axis).squeeze(axis))
