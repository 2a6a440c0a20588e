"""Files of original weights, read without ever running what they contain, and written.

Place in the flow: ``kinegraph convert`` hands over a ``.pt`` or ``.pth`` file, or a run folder of
an original program; ``converting`` gets names and tensors. Both forms that ``torch.save`` has had
are read by PyTorch's restricted reader, which builds tensors and plain containers alone.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinegraph.errors import CheckpointError
from kinegraph.files import atomic_file

WEIGHTS = (".pt", ".pth")
WRAPPERS = ("state_dict", "model_state_dict", "model", "weights")  # keys that hold the weights
NUMBERED = re.compile(r"(?:runs|epoch)-?(\d+)")


def find_weights(path: Path) -> Path:
    """Return the file itself, or the weights in a run folder of an original program.

    Of several, the one of the last epoch is taken, as their names count them (``runs-65-40365.pt``,
    ``epoch50_model.pt``).

    Raises:
        CheckpointError: There is none, or the names do not tell which is the last.
    """
    if not path.exists():
        raise CheckpointError(f"'{path}' does not exist; expected a .pt or .pth file")
    if path.suffix == ".safetensors":
        raise CheckpointError(
            f"'{path}' is no file of an original program but one of kinegraph: --reverse converts"
            " it back"
        )
    if not path.is_dir():
        return path
    found = sorted(file for file in path.iterdir() if file.suffix in WEIGHTS)
    if not found:
        raise CheckpointError(f"'{path}' holds no .pt or .pth file")
    if len(found) == 1:
        return found[0]
    epochs = {file: epoch_of(file) for file in found}
    if None in epochs.values():
        names = ", ".join(file.name for file in found[:4])
        raise CheckpointError(f"'{path}' holds {len(found)} files of weights ({names}): name one")
    return max(found, key=lambda file: epochs[file] or 0)


def epoch_of(path: Path) -> int | None:
    """Return the epoch in a file name such as ``runs-65-40365.pt``, if there is one."""
    found = NUMBERED.search(path.stem)
    return int(found[1]) if found else None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read names and tensors of a ``.pt`` or ``.pth`` file.

    Raises:
        CheckpointError: It cannot be read, needs code to be run, or holds no state dict.
    """
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read: {error.strerror or error}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of storages that old files have
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = _first_line(error)
        found = re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error))
        if found:
            raise CheckpointError(
                f"'{path}' is refused: reading it would run code ('{found[1]}'); only tensors in"
                " plain dicts are read. Its owner can save it anew with"
                " torch.save(model.state_dict(), ...)"
            ) from None
        if reason.startswith("Weights only load failed"):  # and more about PyTorch's options
            reason = "it holds something else, or is damaged"
        raise CheckpointError(f"'{path}' is no file of PyTorch weights: {reason}") from None
    except (
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        # Cut short or hostile: whatever the reader trips over, the file is bad.
        raise CheckpointError(
            f"'{path}' is no whole file of PyTorch weights: {_first_line(error)}"
        ) from None
    state = _state_dict(content, path)
    _check_whole(path)
    return state


def write_weights(path: Path, state: Mapping[str, Tensor], *, force: bool = False) -> None:
    """Write names and tensors as ``torch.save`` of the original programs does, whole or not at all.

    Raises:
        OutputError: The file exists and ``force`` is false, or the disk refuses.
    """
    with atomic_file(path, force=force) as temporary:
        torch.save(OrderedDict((name, tensor.clone()) for name, tensor in state.items()), temporary)


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """Find the state dict in what a file holds."""
    if isinstance(content, Mapping):
        for key in WRAPPERS:
            if isinstance(content.get(key), Mapping):
                return _state_dict(content[key], path)
        strangers = [str(k) for k, v in content.items() if not isinstance(v, Tensor)]
        if content and not strangers and all(isinstance(key, str) for key in content):
            for name, tensor in content.items():
                _check_tensor(name, tensor, path)
            return dict(content)
        if strangers:
            raise CheckpointError(
                f"'{path}' holds more than tensors ('{strangers[0]}'), and none of the keys"
                f" {', '.join(WRAPPERS)}: expected a state dict"
            )
    raise CheckpointError(
        f"'{path}' holds a {type(content).__name__}, expected a state dict: names and tensors"
    )


def _check_tensor(name: str, tensor: Tensor, path: Path) -> None:
    """Raise CheckpointError unless a tensor holds plain numbers."""
    kind = str(tensor.layout if tensor.layout != torch.strided else tensor.dtype)
    kind = "without numbers" if tensor.is_meta else kind.removeprefix("torch.")
    plain = tensor.layout == torch.strided and not (tensor.is_quantized or tensor.is_complex())
    if tensor.is_meta or not plain:
        raise CheckpointError(
            f"'{name}' of '{path}' is a tensor of another kind ({kind}); expected real numbers,"
            " each of them there"
        )


def _check_whole(path: Path) -> None:
    """Raise CheckpointError if a part of a file has lost its checksum; old files have none."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return  # of the old form; or PyTorch reads what others do not
    if damaged:
        raise CheckpointError(
            f"'{path}' is damaged: its part '{damaged}' does not have its checksum; get it anew"
        )


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    if isinstance(error, EOFError):
        return "it is empty, or ends too early"
    return text[0][:200] if text else type(error).__name__
