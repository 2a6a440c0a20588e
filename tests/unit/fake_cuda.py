"""Goes through steps on CUDA tensors without numbers, where there is no GPU; run by its test.

PyTorch's fake tensors know shape, type, device and strides, and fail where a number is asked for,
which on a device would be waited for. PyTorch for CPUs lacks the little that autograd asks a CUDA
device besides; ``fake_cuda.cpp`` gives it, preloaded. Prints what was found as JSON.
"""

from __future__ import annotations

import json
import sys
import traceback
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kinegraph.batch import Batch
from kinegraph.kernels import dispatch
from kinegraph.nn.persons import plan_rows
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import make_objective
from kinegraph.training.execution import Execution
from kinegraph.training.state import RunState
from kinegraph.training.step import Stepper
from kinegraph.training.structure import tensors_of, with_tensors
from kinegraph.transforms import TRANSFORMS
from kinegraph.transforms.pipeline import Pipeline
from kinegraph.transforms.tracks import RaggedTracks

DEVICE = torch.device("cuda", 0)
CLIPS, PERSONS = 256, 2
BIG = 20_000_000  # numbers of an activation
TRANSFORM = {"name": "crop_resize", "length": 64, "proportion": [0.5, 1.0]}


class Watch(TorchDispatchMode):
    """Sees every operation: where its tensors are, how they lie, and how much there is of them."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed: list[str] = []
        self.turned: list[str] = []
        self.held: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        given = [part for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)]
        results = [part for part in tree_leaves(made) if isinstance(part, Tensor)]
        name = str(function)
        if len({tensor.device.type for tensor in (*given, *results)}) > 1:
            self.mixed.append(f"{name} {_lines()}")
        if name.startswith(("kinegraph", "aten.add", "aten.convolution")):
            self.turned += [f"{name} {t.stride()}" for t in (*given, *results) if _turned(t)]
        for tensor in results:
            self._hold(tensor.untyped_storage())
        return made

    def _hold(self, memory: torch.UntypedStorage) -> None:
        key = memory._cdata
        if key not in self.held:
            self.held[key] = memory.nbytes()
            weakref.finalize(memory, self.held.pop, key, None)
            self.peak = max(self.peak, sum(self.held.values()))


def _lines() -> list[str]:
    stack = traceback.extract_stack()
    return [f"{f.filename.split('/')[-1]}:{f.lineno}" for f in stack if "kinegraph/" in f.filename]


def _turned(tensor: Tensor) -> bool:
    """Whether an activation (R, C, T, V) does not lie channels last, or spread out from fewer."""
    return (
        tensor.ndim == 4
        and tensor.numel() > BIG
        and 0 not in tensor.stride()
        and tensor.stride(1) != 1
    )


def _like_cudnn(x: Tensor, weight: Tensor, backend: Any) -> torch.memory_format:
    """Return the order of a convolution's result, as cuDNN decides it."""
    last = any(
        t.is_contiguous(memory_format=torch.channels_last) and not t.is_contiguous()
        for t in (x, weight)
    )
    return torch.channels_last if last else torch.contiguous_format


@contextmanager
def pretended() -> Iterator[None]:
    """Let code believe in a CUDA device with kernels that work."""
    import torch.cuda.amp.common as amp

    amp.amp_definitely_not_available = lambda: False
    torch.cuda.is_bf16_supported = lambda *_, **__: True  # type: ignore[assignment]
    torch._C._conv_determine_backend_memory_format = _like_cudnn
    torch._fused_sgd_ = _fused_sgd  # type: ignore[assignment]
    dispatch._verdict = lambda *_: True  # type: ignore[assignment]
    with FakeTensorMode():
        yield


def _fused_sgd(
    weights: list[Tensor], gradients: list[Tensor], memories: list[Tensor], **others: Any
) -> None:
    """Do nothing but what the real one checks first."""
    for weight, *rest in zip(weights, gradients, memories, strict=True):
        for tensor in rest:
            assert tensor.dtype == weight.dtype
            assert tensor.device == weight.device
            assert tensor.stride() == weight.stride()


def _there(tensor: Tensor) -> Tensor:
    size, strides = tuple(tensor.shape), tuple(tensor.stride())
    there = torch.empty_strided(size, strides, dtype=tensor.dtype, device=DEVICE)
    learns = tensor.requires_grad
    return nn.Parameter(there, learns) if isinstance(tensor, nn.Parameter) else there


def train(
    network: str, precision: Any, frames: int, width: int, method: str = "classify"
) -> dict[str, Any]:
    """Take two steps and return what was seen in the second."""
    recipe = parse_recipe({
        "backbone": {"name": network, "width": width},
        "objective": {"name": method},
        "transforms": {"test": [TRANSFORM]},
        "training": {"batch_size": CLIPS, "ema": 0.9, "precision": precision},
        "optim": {"clip_norm": 1.0},
    })  # fmt: skip
    skeleton = load_layout("ntu25")
    objective = make_objective(recipe, skeleton, 60, persons=PERSONS)
    present = np.ones((CLIPS, PERSONS), dtype=np.bool_)
    present[CLIPS // 3 :, 1] = False
    rows = plan_rows(present, multiple=16)
    with pretended():
        for module in objective.modules():
            for store in (module._parameters, module._buffers):
                store |= {name: _there(t) for name, t in store.items() if t is not None}
        shape = (CLIPS, PERSONS, frames, skeleton.joint_count, 3)
        numbers = torch.zeros(CLIPS, dtype=torch.int64, device=DEVICE)
        batch = Batch(
            x=torch.empty(shape, device=DEVICE).permute(0, 4, 2, 3, 1),
            label=numbers, index=numbers, present=_there(torch.from_numpy(present)),
            rows=with_tensors(rows, (_there(tensor) for tensor in tensors_of(rows))),
        )  # fmt: skip
        state = _state(recipe, objective)
        guard: Any = type("Guard", (), {"watch": lambda *_: None})()
        stepper = Stepper(recipe, state, guard, DEVICE, Execution(precision=precision))
        views = (batch,) * len(objective.views)
        stepper.step([views])
        with Watch() as watch:
            sums = stepper.step([views])
    learning = [pair for pair in objective.named_parameters() if pair[1].requires_grad]
    missing = [name for name, weight in learning if weight.grad is None]
    return {
        "mixed": watch.mixed, "turned": watch.turned, "peak_gib": watch.peak / 2**30,
        "missing": missing, "types": sorted({str(value.dtype) for value in sums.values()}),
    }  # fmt: skip


def _state(recipe: Any, objective: Any) -> RunState:
    """Make the state; an optimiser looks at its learning rate once, which is no tensor then."""
    real = torch.tensor
    torch.tensor = lambda value, **_: value  # type: ignore[assignment]
    try:
        state = RunState(recipe, objective, DEVICE)
    finally:
        torch.tensor = real
    for group in state.optimizer.param_groups:
        group["lr"] = torch.empty((), device=DEVICE)
    return state


def transform(layout: str, stream: str) -> dict[str, Any]:
    """Apply every transform; return operations that met tensors of the host, by transform."""
    skeleton = load_layout(layout)
    crop = TRANSFORMS["crop_resize"].config(length=16)
    found: dict[str, Any] = {}
    for name, part in TRANSFORMS.items():
        config = part.config()
        planar = skeleton.coordinates.positions == 2
        if name in (("turn_view", "align_body") if planar else ("fit_image",)):
            continue
        stage = part.build(config, skeleton, False).stage
        configs = {"clip": [config, crop], "sample": [config], "batch": [crop, config]}[stage]
        pipeline = Pipeline(configs, stream, skeleton)
        with pretended(), torch.no_grad():

            def numbers(count: int) -> Tensor:
                return torch.zeros(count, dtype=torch.int64, device=DEVICE)

            joints = (900, skeleton.joint_count, skeleton.coordinates.channels)
            tracks = RaggedTracks(
                joints=torch.empty(joints, device=DEVICE), offset=numbers(11), length=numbers(11),
                first=numbers(11), clip=numbers(11), person=numbers(11), frames=numbers(8),
                persons=2, skeleton=skeleton, total=600,
            )  # fmt: skip
            draws = {"seed": 1, "epoch": numbers(8), "index": numbers(8)}
            pipeline(tracks, **draws).dense()  # copies constants, once
            with Watch() as watch:
                x = pipeline(tracks, **draws).dense()
            found[name] = watch.mixed
            assert (x.device, x.dtype) == (DEVICE, torch.float32)
        forget_constants()
    return found


def forget_constants() -> None:
    """Drop fake constants, which belong to their mode."""
    from kinegraph.transforms import streams, tracks

    tracks.constant.cache_clear()
    streams._k_mode_operator.cache_clear()


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    result = transform(*words) if what == "transform" else train(
        words[0], words[1], int(words[2]), int(words[3]), *words[4:]
    )  # fmt: skip
    sys.stdout.write(json.dumps(result))
