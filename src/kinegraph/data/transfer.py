"""From where batches are made to where they are used: made ahead in a thread, copied aside.

The thread computes on the host only; whatever talks to an accelerator happens in the thread that
asks for batches, so that work which is being recorded there (a CUDA graph) meets no other caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from kinegraph.batch import Batch
from kinegraph.training.structure import tensors_of, with_tensors

Item = TypeVar("Item")
SECONDS_BETWEEN_LOOKS = 0.05  # while a thread is being stopped


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the host to a device without waiting for what the device has to do.

    Not yet run on a GPU. From ordinary memory the copy would wait; page-locked memory is not
    reused before the copy has been made, torch sees to that.
    """
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def upload_parts(value: Item, device: torch.device) -> Item:
    """Return a batch, or its rows, with every tensor in it copied as `upload` does."""
    return with_tensors(value, (upload(tensor, device) for tensor in tensors_of(value)))


@dataclass(frozen=True)
class _Done(Generic[Item]):
    """The last message of the thread: it has come to the end, or to an error."""

    error: BaseException | None = None


class _Maker(Thread):
    """Puts the items of an iterator in a queue until they end, fail or are not wanted any more."""

    def __init__(self, items: Iterator[Any], ahead: int) -> None:
        super().__init__(name="kinegraph-batches", daemon=True)
        self.made: Queue[Any] = Queue(maxsize=ahead)
        self._items = items
        self._unwanted = Event()

    def run(self) -> None:
        """Make items. An error is handed over, to be raised where items are asked for."""
        try:
            for item in self._items:
                if self._unwanted.is_set():
                    return
                self.made.put(item)
        except BaseException as error:
            self.made.put(_Done(error))
        else:
            self.made.put(_Done())

    def stop(self) -> None:
        """Return once the thread has ended, whatever it was waiting for."""
        self._unwanted.set()
        while self.is_alive():
            try:
                self.made.get_nowait()  # makes room if it waits for some
            except Empty:
                self.join(SECONDS_BETWEEN_LOOKS)


def prefetch(items: Iterator[Item], ahead: int) -> Iterator[Item]:
    """Yield items that a thread makes up to ``ahead`` in advance, in their order.

    An error while making one is raised here, after the items before it. However this iterator is
    left - at its end, by an error, by ``close`` or because nobody holds it any more - the thread
    has ended by then.
    """
    maker = _Maker(items, ahead)
    maker.start()
    try:
        while not isinstance(item := maker.made.get(), _Done):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        maker.stop()


def carried(made: Iterator[tuple[Batch, ...]], device: torch.device) -> Iterator[tuple[Batch, ...]]:
    """Yield batches of the host on a device; a CUDA device copies while it computes.

    The CUDA part has not yet been run on a GPU.
    """
    with closing(made):  # type: ignore[type-var]
        if device.type != "cuda":
            for batches in made:
                yield tuple(batch.to(device) for batch in batches)
            return
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        for batches in made:
            with torch.cuda.stream(aside):
                there = upload_parts(batches, device)
            using = torch.cuda.current_stream(device)
            using.wait_stream(aside)
            for tensor in tensors_of(there):
                # Its memory belongs to the stream that copied, which must know who else uses it.
                tensor.record_stream(using)
            yield there
