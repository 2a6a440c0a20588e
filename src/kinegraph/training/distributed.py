"""Several processes that work as one: who they are, and the few things they tell each other.

Each has its part of every batch. What depends on the whole batch is summed over all of them: the
statistics of batch norms, gradients, losses. So a run has the same numbers, up to rounding, however
many processes it has. Nothing here knows recipes, epochs or files.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread
from typing import NoReturn

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kinegraph.console import complain, remark, speak_only_of_errors
from kinegraph.data.loader import Share
from kinegraph.data.transfer import upload
from kinegraph.errors import KinegraphError, RecipeError, TrainingError
from kinegraph.nn.norm import BatchNorm
from kinegraph.objectives.base import Objective
from kinegraph.training.launch import LOST_CONTACT, RENDEZVOUS, devices_of
from kinegraph.training.setup import choose_device

PATIENCE = timedelta(minutes=10)  # for a process that does not answer
SHARED_NORMS = (BatchNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class LostContact(TrainingError):
    """Another process has ended or does not answer."""


@dataclass(frozen=True)
class World(Share):
    """The processes that work together, seen from one of them. Alone, it waits for nobody.

    Everything below but `first` must be called by all processes, in the same order.

    Attributes:
        rank: Number of this process, from 0.
        size: How many processes there are.
        device: Where this process computes, as `choose_device` takes it.
    """

    device: str = "auto"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, in its own memory."""
        if self.size > 1:
            with _contact():
                dist.all_reduce(values)
        return values

    def greatest(self, value: int) -> int:
        """Return the greatest of all processes' numbers. Waits for no accelerator."""
        if self.size == 1:
            return value
        numbers = torch.tensor([value])
        with _contact():
            dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return int(numbers)

    def spread(self, values: Tensor) -> None:
        """Give a tensor the values that it has in the first process."""
        if self.size > 1:
            whole = values.contiguous()
            with _contact():
                dist.broadcast(whole, 0)
            if whole.data_ptr() != values.data_ptr():
                values.copy_(whole)

    def spread_bytes(self, data: bytes) -> bytes:
        """Return the bytes that the first process has; those of others are ignored."""
        if self.size == 1:
            return data
        length = self.greatest(len(data) if self.first else 0)
        memory = np.frombuffer(data, np.uint8).copy() if self.first else np.empty(length, np.uint8)
        self.spread(torch.from_numpy(memory))
        return memory.tobytes()

    def collect(self, data: bytes) -> list[bytes]:
        """Return the bytes of every process, in the order of their ranks."""
        if self.size == 1:
            return [data]
        lengths = torch.zeros(self.size, dtype=torch.int64)
        lengths[self.rank] = len(data)
        self.sum(lengths)
        longest = torch.zeros(int(lengths.max()), dtype=torch.uint8)
        longest[: len(data)] = torch.from_numpy(np.frombuffer(data, np.uint8).copy())
        everything = [torch.empty_like(longest) for _ in range(self.size)]
        with _contact():
            dist.all_gather(everything, longest)
        pairs = zip(everything, lengths.tolist(), strict=True)
        return [one[:length].numpy().tobytes() for one, length in pairs]

    def gather(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the rows of all processes below each other; some may have none."""
        if self.size == 1:
            return rows
        buffer = io.BytesIO()
        np.save(buffer, rows, allow_pickle=False)
        files = [io.BytesIO(data) for data in self.collect(buffer.getvalue())]
        parts = [np.load(file, allow_pickle=False) for file in files]
        whole: NDArray[np.float32] = np.concatenate([part for part in parts if len(part)])
        return whole

    def seed(self, *numbers: int) -> None:
        """Start torch's random numbers anew, in all processes but the first.

        The first goes on with its own, which checkpoints keep. Those of the others follow from
        these numbers, such as seed, epoch and step, and need not be kept.
        """
        if not self.first:
            (state,) = np.random.SeedSequence([*numbers, self.rank]).generate_state(1, np.uint64)
            torch.manual_seed(int(state) >> 1)


ALONE = World()


def prepare(objective: nn.Module, world: World) -> None:
    """Let an objective compute as if its process had the whole of every batch.

    Batch norms take their statistics over all processes; PyTorch's own become ours, which have the
    same parameters and buffers. All processes get the weights of the first.

    Raises:
        RecipeError: A batch norm cannot share its statistics.
    """
    if world.size == 1:
        return
    for name, module in objective.named_modules():
        if isinstance(module, Objective) and hasattr(module, "reduce"):
            vars(module)["reduce"] = world.sum
            if hasattr(module, "share"):
                vars(module)["share"] = world
        if not isinstance(module, _BatchNorm):
            continue
        _check_norm(name, module)
        module.__class__ = BatchNorm
        vars(module)["reduce"] = world.sum
    for tensor in objective.state_dict().values():
        world.spread(tensor)


def _check_norm(name: str, norm: _BatchNorm) -> None:
    usual = norm.affine and norm.track_running_stats and norm.momentum is not None
    if type(norm) not in SHARED_NORMS or not usual:
        raise RecipeError(
            f"the objective's '{name}' is a {type(norm).__name__} whose statistics cannot be shared"
            " by several processes; use kinegraph.nn.norm.BatchNorm, or train in one process"
        )


def sum_step(world: World, module: nn.Module, numbers: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sum the gradients and some scalars over all processes, in one exchange.

    A weight that has a gradient in some process has one in all afterwards, others in none.

    Args:
        world: The processes.
        module: What is trained; the same everywhere.
        numbers: Name -> scalar; the same names everywhere.

    Returns:
        The sums of the scalars.
    """
    if world.size == 1:
        return numbers
    parameters = [weight for weight in module.parameters() if weight.requires_grad]
    double = any(weight.dtype == torch.float64 for weight in parameters)
    dtype = torch.float64 if double else torch.float32
    device = parameters[0].device
    lacking = [weight.grad is None for weight in parameters]
    pieces = [
        torch.zeros(weight.numel(), dtype=dtype, device=device)
        if weight.grad is None
        else weight.grad.reshape(-1).to(dtype)
        for weight in parameters
    ]
    there = torch.tensor([not lacks for lacks in lacking], dtype=dtype)
    pieces.append(upload(there, device))  # without waiting for the backward pass
    pieces += [value.reshape(1).to(device, dtype) for value in numbers.values()]
    lengths = [*(weight.numel() for weight in parameters), len(parameters) + len(numbers)]
    *sums, present = torch.split(world.sum(torch.cat(pieces)), lengths)
    somewhere = present[: len(parameters)].tolist() if any(lacking) else [1.0] * len(parameters)
    for weight, total, count in zip(parameters, sums, somewhere, strict=True):
        if weight.grad is not None:
            weight.grad.copy_(total.view(weight.shape))
        elif count:
            weight.grad = total.view(weight.shape).to(weight.dtype)
    totals = present[len(parameters) :]
    return {
        name: total.to(value.dtype)
        for (name, value), total in zip(numbers.items(), totals, strict=True)
    }


@contextmanager
def join(device: str, who: str) -> Iterator[World]:
    """Meet the processes that were started together, and yield the world as this one sees it.

    They are those of ``torchrun``, or of `kinegraph.training.launch`; a process that was started
    in neither way is alone. All but the first are silent from now on. A process that fails ends
    here: the others may be waiting for it, and the libraries' own ending would wait for them.

    Args:
        device: What the user asked for.
        who: The command, for messages.

    Raises:
        RecipeError: The process is alone, and more than one device was asked for.
    """
    size = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if size == 1:
        yield World(device=_only(devices_of(device)))
        return
    rank = int(os.environ["RANK"])
    speak_only_of_errors(f"rank {rank}" if rank else "")
    try:
        world = World(rank, size, device=own_device(device))
        _connect(world)
        yield world
        dist.destroy_process_group()
    except BaseException as error:
        _leave(error, who)


def own_device(asked: str) -> str:
    """Return the device of this process among those of its machine.

    Raises:
        RecipeError: There is none for it, or several processes would share one.
    """
    local = int(os.environ.get("LOCAL_RANK", os.environ["RANK"]))
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    names = devices_of(asked)
    if RENDEZVOUS in os.environ and len(names) > 1:
        return names[local]
    name = _only(names)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        there = torch.cuda.device_count()
        if local >= there:
            raise RecipeError(
                f"process {local} of this machine has no GPU: it has {there}; start as many"
                f" processes (--nproc-per-node {max(there, 1)}), or give --device cpu"
            )
        return f"cuda:{local}"
    if name != "cpu" and beside > 1:
        raise RecipeError(
            f"--device {asked}: {beside} processes of this machine would share it; under torchrun"
            " leave --device out, each process then takes a GPU of its own"
        )
    return name


def _only(names: list[str]) -> str:
    if len(names) > 1:
        raise RecipeError(
            f"--device {' '.join(names)}: this process can use one; torchrun gives each of its"
            " processes a GPU without --device, and without torchrun kinegraph train, test and"
            " predict start a process for each device"
        )
    return names[0]


def _connect(world: World) -> None:
    """Meet the other processes."""
    device = choose_device(world.device)
    meeting = os.environ.get(RENDEZVOUS)
    if meeting:
        Thread(target=_end_with_launcher, daemon=True).start()
    if device.type == "cuda":
        torch.cuda.set_device(device)  # NCCL computes on the current one
    with _contact():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            init_method=f"file://{meeting}" if meeting else "env://",
            rank=world.rank,
            world_size=world.size,
            timeout=PATIENCE,
        )
    world.greatest(0)  # all of them are there


def _end_with_launcher() -> None:
    """Stop this process, as a signal would, when the one that started it is gone."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _contact() -> Iterator[None]:
    """Turn what fails between processes into an error of one line."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # ValueError: torchrun's variables are incomplete
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = re.sub(r"^\[\S+\] ", "", lines[0]).split(". This is typically")[0]
        raise LostContact(f"lost contact with the other processes: {reason}") from error


def _leave(error: BaseException, who: str) -> NoReturn:
    """Say what is wrong and end the process at once."""
    code = 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif isinstance(error, KeyboardInterrupt):
        remark(f"{who}: interrupted")
        code = 130
    elif isinstance(error, KinegraphError):
        complain(who, str(error))
        code = LOST_CONTACT if isinstance(error, LostContact) else 2
    elif isinstance(error, OSError):
        complain(who, f"cannot read or write: {error}")
        code = 2
    else:
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
