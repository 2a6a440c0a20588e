"""A tiny CLIP with random weights, made on the spot."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
import torch


@pytest.fixture
def clip_encoder(tmp_path: Path) -> Path:
    """A folder with a tiny, untrained CLIP, of its text half alone; its words are letters."""
    library = pytest.importorskip("transformers", reason="needs the extra [text]")
    folder = tmp_path / "clip"
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
        vocab_size=len(words), hidden_size=8, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, projection_dim=6, max_position_embeddings=160,
        bos_token_id=end - 1, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    library.CLIPTextModelWithProjection(config).save_pretrained(folder)
    files = {"vocab_file": "vocab.json", "merges_file": "merges.txt"}
    paths = {name: str(folder / file) for name, file in files.items()}
    library.CLIPTokenizer(**paths).save_pretrained(folder)
    return folder
