"""The golden networks through kernels: in float32 as exact as ever, in bfloat16 within rounding.

Where there is no GPU, Triton's interpreter runs the kernels. It cuts numbers off when it makes
them bfloat16; hardware rounds to the nearest, and so does the interpreter here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from kinegraph.kernels.dispatch import set_kernels

from .goldens import SMALL_COPY, Golden
from .networks import build, load_filled, present

pytest.importorskip("triton", reason="Triton is not installed")

pytestmark = pytest.mark.slow

NETWORKS = ("stgcn_ntu_spatial_seed0", "ctrgcn_ntu_seed0", "frhead_stgcn_ucla_seed0")
KEPT = ("kept", "kept_for_logits")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return where kernels run, and insist on them."""
    if not torch.cuda.is_available():
        if os.environ.get("TRITON_INTERPRET") != "1":
            pytest.skip("kernels need a CUDA device or TRITON_INTERPRET=1")
        from triton.runtime import interpreter

        cut = interpreter._convert_float

        def rounded(data: Any, old: Any, new: Any, mode: Any) -> Any:
            if (old.name, new.name) != ("fp32", "bf16"):
                return cut(data, old, new, mode)
            return torch.from_numpy(data.copy()).bfloat16().view(torch.int16).numpy()

        monkeypatch.setattr(interpreter, "_convert_float", rounded)
    set_kernels("fused")
    yield "cuda" if torch.cuda.is_available() else "cpu"
    set_kernels("auto")


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_kernels_agree_with_the_original(name: str, device: str) -> None:
    golden = Golden.open(SMALL_COPY / f"{name}.npz")
    family, objective = build(golden)
    kept = next((golden.meta[key] for key in KEPT if key in golden.meta), [])
    load_filled(golden, family, objective, kept)
    objective.eval().to(device)
    x = torch.from_numpy(golden["input"]).to(device)
    expected = torch.from_numpy(golden["logits"])
    largest = float(expected.abs().max())

    found = objective.logits(x, present(x)).cpu()
    assert float((found - expected).abs().max()) < 1e-4 * largest

    with torch.autocast(device, dtype=torch.bfloat16):
        rough = objective.logits(x, present(x)).float().cpu()
    assert 1e-5 * largest < float((rough - expected).abs().max()) < 2e-2 * largest
    assert torch.equal(rough.argmax(1), expected.argmax(1))
