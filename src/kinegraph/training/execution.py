"""How a run computes: precision, kernels, compilation, CUDA graphs; and what `auto` stands for.

A recipe says what is wished for; `resolve_execution` decides once, before the first step. The
result of a run does not depend on these switches beyond rounding.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from kinegraph.errors import RecipeError
from kinegraph.kernels.dispatch import OLDEST_CAPABILITY, Choice, interpreted
from kinegraph.recipe import Recipe
from kinegraph.training.setup import autocast_type

if TYPE_CHECKING:
    from kinegraph.data.loader import ClipLoader
    from kinegraph.training.checkpoint import Checkpoint

Precision = Literal["fp32", "bf16", "fp16"]

NATIVE_BF16 = (8, 0)  # the first CUDA devices whose matrix units take bfloat16
STEPS_TO_COMPILE = 5000  # compiling costs one or two minutes


@dataclass(frozen=True)
class Execution:
    """How a run computes, decided.

    Attributes:
        precision: Arithmetic of the forward pass.
        kernels: What `kinegraph.kernels.dispatch.set_kernels` is told.
        compile: Whether the objective's forward pass is compiled.
        cuda_graphs: Whether whole optimiser steps are recorded and replayed.
        insist: Switches that were asked for by name: where they fail, the run stops instead of
            going on without them.
        fused: Whether kernels are to be expected; for the announcement alone.
    """

    precision: Precision = "fp32"
    kernels: Choice = "auto"
    compile: bool = False
    cuda_graphs: bool = False
    insist: frozenset[str] = frozenset()
    fused: bool = False

    @property
    def autocast(self) -> torch.dtype | None:
        """Type that the forward pass computes in, or None for float32."""
        dtype: torch.dtype | None = autocast_type(self.precision)
        return dtype

    def describe(self) -> str:
        """Return a few words for the log, such as ``bf16, fused kernels, CUDA graphs``."""
        words = [self.precision, "fused kernels" if self.fused else "plain kernels"]
        words += ["compiled"] * self.compile + ["CUDA graphs"] * self.cuda_graphs
        return ", ".join(words)


def resolve_execution(
    recipe: Recipe, device: torch.device, loader: ClipLoader, *, processes: int = 1
) -> Execution:
    """Decide how a run computes on a device.

    ``auto`` means: bf16 where a CUDA device computes it natively and fp32 elsewhere; kernels and
    CUDA graphs on CUDA devices; compilation on CUDA devices without kernels, for runs that are
    long enough to earn its minutes back. On a CPU compilation gains nothing. Several processes
    neither compile nor record: their exchanges are no part of what can be.

    Args:
        recipe: What is wished for.
        device: Where the run computes.
        loader: The training batches; how many there are decides whether compiling pays.
        processes: How many processes share them.

    Raises:
        RecipeError: Something was asked for that cannot work on this device, or in so many
            processes.
    """
    training = recipe.training
    precision = _precision(training.precision, device)
    _check_kernels(training.kernels, device)
    fused = training.kernels == "fused" or (training.kernels == "auto" and _has_kernels(device))
    insist = frozenset(
        name for name in ("compile", "cuda_graphs") if getattr(training, name) == "on"
    )
    alone = processes == 1
    if insist and not alone:
        raise RecipeError(
            f"training.{min(insist)} on: does not work in {processes} processes; choose auto or off"
        )
    if "compile" in insist:
        _check_compiler(device)
    if "cuda_graphs" in insist:
        _check_graphs(precision, device)
    pays = alone and not fused and _compiling_pays(training.epochs * len(loader), device)
    return Execution(
        precision=precision,
        kernels=training.kernels,
        compile=training.compile == "on" or (training.compile == "auto" and pays),
        cuda_graphs=(
            alone
            and training.cuda_graphs != "off"
            and device.type == "cuda"
            and precision != "fp16"
        ),
        insist=insist,
        fused=fused,
    )


def scoring_type(checkpoint: Checkpoint, device: torch.device) -> torch.dtype | None:
    """Return the type that clips are scored in, or None for float32.

    It is the one the run was trained in. One that ``auto`` chose is left where the device does not
    compute in it natively: float32 is then both quicker and more precise.
    """
    asked = checkpoint.recipe.training.precision
    if asked == "auto":
        native = checkpoint.progress.get("precision") == "bf16" and computes_bf16(device)
        return torch.bfloat16 if native else None
    dtype: torch.dtype | None = autocast_type(asked)
    return dtype


def computes_bf16(device: torch.device) -> bool:
    """Whether a device is a CUDA device with bfloat16 matrix units."""
    if device.type != "cuda":
        return False
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= NATIVE_BF16


def _precision(asked: str, device: torch.device) -> Precision:
    if asked == "auto":
        return "bf16" if computes_bf16(device) else "fp32"
    return asked  # type: ignore[return-value]


def _has_kernels(device: torch.device) -> bool:
    return (
        device.type == "cuda"
        and torch.cuda.get_device_capability(device) >= OLDEST_CAPABILITY
        and _has_triton()
    )


def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _compiling_pays(steps: int, device: torch.device) -> bool:
    return device.type == "cuda" and _has_triton() and steps >= STEPS_TO_COMPILE


def _check_kernels(kernels: Choice, device: torch.device) -> None:
    if kernels == "fused" and not (device.type == "cuda" or interpreted()):
        raise RecipeError(
            f"training.kernels fused: needs a CUDA device, the run is on '{device}'; choose auto or"
            " plain"
        )


def _check_graphs(precision: Precision, device: torch.device) -> None:
    if device.type != "cuda":
        raise RecipeError(
            f"training.cuda_graphs on: needs a CUDA device, the run is on '{device}'; choose auto"
            " or off"
        )
    if precision == "fp16":
        raise RecipeError(
            "training.cuda_graphs on: does not go with training.precision fp16, whose loss scale is"
            " decided anew in every step; choose precision bf16 or cuda_graphs off"
        )


def _check_compiler(device: torch.device) -> None:
    """Raise RecipeError if torch.compile lacks what it makes code with."""
    if device.type == "cuda":
        if not _has_triton():
            raise RecipeError(
                "training.compile on: needs Triton on a CUDA device, which is not installed; choose"
                " off"
            )
    elif shutil.which(compiler := _compiler()) is None:
        raise RecipeError(
            f"training.compile on: needs a C++ compiler on '{device}', found no '{compiler}';"
            " install one, name it in the environment variable CXX, or choose off"
        )


def _compiler() -> str:
    """Return the C++ compiler that torch.compile calls: the one in CXX, or the system's usual."""
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return os.environ.get("CXX") or usual
