"""Tiny text encoders with random weights, made on the spot."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sit", "down", "stand", "up", "wave"]
SHAPE = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}


def transformers() -> Any:
    """Return the package, or skip the test."""
    return pytest.importorskip("transformers", reason="needs the extra [text]")


@pytest.fixture
def sentence_encoder(tmp_path: Path) -> Path:
    """A folder with a tiny, untrained sentence encoder."""
    library, folder = transformers(), tmp_path / "tiny"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    config = library.BertConfig(vocab_size=len(WORDS), intermediate_size=16, **SHAPE)
    library.BertModel(config).save_pretrained(folder)
    library.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture
def clip_encoder(tmp_path: Path) -> Path:
    """A folder with a tiny, untrained CLIP, of its text half alone; its words are letters."""
    library, folder = transformers(), tmp_path / "clip"
    folder.mkdir()
    letters = [*string.printable.strip(), *(f"{one}</w>" for one in string.printable.strip())]
    words = {
        word: place for place, word in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])
    }
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    torch.manual_seed(0)
    end = len(words) - 1
    config = library.CLIPTextConfig(
        vocab_size=len(words), intermediate_size=16, projection_dim=6, max_position_embeddings=160,
        bos_token_id=end - 1, eos_token_id=end, pad_token_id=end, **SHAPE,
    )  # fmt: skip
    library.CLIPTextModelWithProjection(config).save_pretrained(folder)
    files = {"vocab_file": "vocab.json", "merges_file": "merges.txt"}
    kind = library.CLIPTokenizer
    paths = {name: str(folder / file) for name, file in files.items()}
    kind(**paths).save_pretrained(folder)
    return folder
