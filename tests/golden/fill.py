"""Deterministic weights and inputs, by the rule that the golden files were made with.

The values of a tensor depend only on its original name, its shape and the seed.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor


def fill(
    state: Mapping[str, Tensor], *, seed: int, keep: Collection[str] = (), gain: float = 1.0
) -> dict[str, Tensor]:
    """Return new values for all floating tensors but those in ``keep``.

    Tensors with two or more axes are multiplied by ``gain``.
    """
    filled = {}
    for name, old in state.items():
        if name in keep or not torch.is_floating_point(old):
            filled[name] = old.clone()
            continue
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        shape = tuple(old.shape)
        if name.endswith("running_var"):
            values = 0.5 + random.random(shape)
        elif old.ndim >= 2:
            values = random.standard_normal(shape) / np.sqrt(max(1, math.prod(shape[1:])))
        elif old.ndim == 1 and name.endswith("weight"):
            values = 1 + 0.1 * random.standard_normal(shape)
        else:  # biases, running means, single numbers
            values = 0.1 * random.standard_normal(shape)
        tensor = torch.as_tensor(np.asarray(values), dtype=old.dtype)
        filled[name] = tensor * gain if old.ndim >= 2 else tensor
    return filled


def skeleton_input(n: int, c: int, t: int, v: int, m: int, seed: int) -> Tensor:
    """Return (N, C, T, V, M) smooth random motion; every second clip lacks its second person."""
    random = np.random.default_rng([seed, n, c, t, v, m])
    x = random.standard_normal((n, c, t, v, m)).cumsum(2) * 0.05
    x += random.standard_normal((n, c, 1, v, m))
    if m > 1:
        x[1::2, ..., 1] = 0
    return torch.as_tensor(x, dtype=torch.float32)
