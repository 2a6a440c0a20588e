"""The objective `language` with an encoder that learns: steps, runs, and what tests are spared."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from torch._subclasses.fake_tensor import FakeTensorMode

from kinegraph.backbones import BACKBONES, build_backbone
from kinegraph.batch import Batch
from kinegraph.cli import main
from kinegraph.compat.converting import revert
from kinegraph.errors import RecipeError, TextError
from kinegraph.objectives import LanguageConfig, build_objective
from kinegraph.objectives.language import Language
from kinegraph.objectives.language_texts import TableTexts, TrainedTexts
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.text.description import load_descriptions
from kinegraph.text.encoder import encode_descriptions, open_encoder
from kinegraph.text.table import TextTable
from kinegraph.training.checkpoint import Checkpoint
from kinegraph.training.step import Stepper

ENCODERS = pytest.mark.parametrize("encoder", ["sentence_encoder", "clip_encoder"])


@pytest.fixture
def folder(encoder: str, request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(encoder)
    return found


def made(folder: Path, backbone: str = "stgcn", **settings: Any) -> Language:
    torch.manual_seed(0)
    skeleton = load_layout("ucla20")
    settings = {"encoder": str(folder), "texts": "nw-ucla"} | settings
    net = BACKBONES[backbone].config.model_validate({"name": backbone, "width": 8})
    objective = build_objective(
        LanguageConfig.model_validate(settings),
        lambda: build_backbone(net, skeleton, persons=1),
        num_classes=10,
        skeleton=skeleton,
    )
    assert isinstance(objective, Language)
    return objective


def batch_of(count: int) -> Batch:
    random = torch.Generator().manual_seed(1)
    label = torch.randint(10, (count,), generator=random)
    x = torch.randn(count, 3, 12, 20, 1, generator=random)
    return Batch(x, label, torch.arange(count), torch.ones(count, 1) > 0)


@pytest.mark.parametrize(
    ("encoder", "backbone"), [("sentence_encoder", "stgcn"), ("clip_encoder", "ctrgcn")]
)
def test_gradients_reach_the_whole_encoder(folder: Path, backbone: str) -> None:
    objective = made(folder, backbone).train()
    model = objective.language.texts.get_submodule("model")
    assert not any(part.training for part in model.modules())
    objective(batch_of(4))["loss"].backward()
    for name, weight in objective.language.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None, name
            assert weight.grad.abs().max() > 0, name
        else:
            assert "model.pooler" in name, name
    assert sum(weight.grad is not None for weight in objective.language.texts.parameters()) > 15
    assert not any("language" in name for name, _ in objective.freeze().named_parameters())


@ENCODERS
@pytest.mark.parametrize("count", [3, 60])  # fewer clips than texts, and more
def test_an_encoder_that_stands_still_is_a_table(folder: Path, count: int) -> None:
    objective, batch = made(folder), batch_of(count)
    encoder, texts = open_encoder(str(folder)), load_descriptions("nw-ucla")
    rounded = encode_descriptions(texts, encoder)
    prompts = [one.prompts() for one in texts]
    parts = [encoder.encode([prompt[place] for prompt in prompts]) for place in range(4)]
    table = TextTable(
        names=encoder.encode([name for one in texts for name in one.names]),  # type: ignore[arg-type]
        counts=rounded.counts,
        parts=np.stack(parts),
        classes=rounded.classes, encoder="", encoder_hash="", texts_hash="",
    )  # fmt: skip
    outcomes = []
    for source in (objective.language.texts, TableTexts(table)):
        objective.language.texts = source.train()
        torch.manual_seed(5)
        outcomes.append(objective(batch))
    for name, value in outcomes[0].items():
        torch.testing.assert_close(value, outcomes[1][name])


@ENCODERS
def test_gradients_do_not_depend_on_how_many_texts_are_encoded(folder: Path) -> None:
    texts = made(folder).language.texts.eval()
    label = batch_of(50).label
    weights = torch.randn(5, 50, texts.widths[0])

    def gradients(pieces: list[slice]) -> list[torch.Tensor]:
        texts.zero_grad()
        for piece in pieces:
            features = torch.stack(texts(label[piece]))
            torch.autograd.backward((features * weights[:, piece]).sum())
        return [w.grad.clone() for w in texts.parameters() if w.grad is not None]

    whole = gradients([slice(50)])
    pieces = gradients([slice(2), slice(2, 2), slice(2, 50)])
    scale = max(float(one.abs().max()) for one in whole)
    assert len(whole) == len(pieces) > 15
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * scale)


@ENCODERS
@pytest.mark.parametrize("count", [3, 60])
def test_the_host_waits_for_nothing(folder: Path, count: int) -> None:
    """Tensors without numbers fail where one is asked for: such a step could not be recorded."""
    texts = made(folder).language.texts
    assert isinstance(texts, TrainedTexts)
    label = batch_of(count).label
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        features = texts.train()(mode.from_tensor(label))
        assert [len(one) for one in features] == [count] * 5


def recipe_of(folder: Path, make_store: Any, tiny_recipe: Any, **training: Any) -> list[str]:
    """Write a recipe and a store beside the encoder; return the words of a command."""
    recipe = tiny_recipe(
        objective={"name": "language", "encoder": str(folder), "texts": "ntu120"},
        training={"epochs": 2, "repeat": 2, **training},
        evaluation={"selection": "test", "every": 1},
    )
    file = folder.parent / "joint.yaml"
    file.write_text(yaml.safe_dump(recipe))
    return ["train", str(file), "--data.store", str(make_store()), "--device", "cpu", "--out"]


def tensors_of(file: Path) -> dict[str, bytes]:
    with safe_open(file, framework="np") as opened:
        return {key: opened.get_tensor(key).tobytes() for key in opened.keys()}  # noqa: SIM118


BLOCKED = """
import sys
sys.modules["transformers"] = None
from kinegraph.cli import main
sys.exit(main(["test", sys.argv[1], "--device", "cpu"])
         or main(["test", sys.argv[2], "--device", "cpu", "--out", "scores.npz"])
         or main(["predict", sys.argv[1], sys.argv[3], "--device", "cpu"]))
"""


@pytest.mark.slow
def test_a_run_resumes_exactly_and_is_used_without_its_encoder(
    sentence_encoder: Path,
    make_store: Callable[..., Path],
    tiny_recipe: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = sentence_encoder.parent
    words = recipe_of(sentence_encoder, make_store, tiny_recipe, ema=0.9)
    assert main([*words, str(place / "whole")]) == 0
    step, taken = Stepper.step, [0]

    def stop(self: Any, *arguments: Any) -> Any:
        taken[0] += 1
        if taken[0] == 3:
            raise KeyboardInterrupt
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            loop_until_stopped(
                [*words, str(place / "cut"), "--training.checkpoint_minutes", "1e-9"]
            )
    assert main(["train", "--resume", str(place / "cut"), "--device", "cpu"]) == 0
    whole, cut = (
        tensors_of(place / run / "checkpoints/last.safetensors") for run in ("whole", "cut")
    )
    assert whole == cut
    encoder = "model/language.texts.model."
    assert sum(name.startswith(encoder) for name in whole) > 15
    best = tensors_of(place / "whole/checkpoints/best.safetensors")
    assert not any("language.texts" in name for name in best)

    shutil.rmtree(sentence_encoder)
    last = place / "whole" / "checkpoints" / "last.safetensors"
    files = [str(file) for file in (place / "cut", last, place / "store")]
    command = [sys.executable, "-c", BLOCKED, *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place)
    assert done.returncode == 0, done.stderr


def loop_until_stopped(words: list[str]) -> None:
    if main(words) == 130:
        raise KeyboardInterrupt


def test_original_files_have_no_encoder(
    clip_encoder: Path, tiny_recipe: Callable[..., dict[str, Any]]
) -> None:
    objective = made(clip_encoder, "ctrgcn")
    recipe = tiny_recipe(backbone={"name": "ctrgcn"}, objective={"name": "language"})
    checkpoint = Checkpoint(
        recipe=parse_recipe(recipe),
        skeleton=load_layout("ucla20"), class_names=("a",) * 10, persons=1, epoch=1,
        tensors={f"model/{name}": tensor for name, tensor in objective.state_dict().items()},
    )  # fmt: skip
    theirs = revert(checkpoint)
    assert "linear_head.ViT-B/32.weight" in theirs
    assert not any("text" in name for name in theirs)


def test_what_cannot_be_trained_is_refused(
    sentence_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match="is a table of features, but"):
        made(sentence_encoder, texts="mine.safetensors")
    with pytest.raises(RecipeError, match="describe class 0 as 'pick up with one hand'"):
        made(sentence_encoder).check_classes(["drink water"])


def test_long_texts_are_cut_off_with_one_remark(
    clip_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(clip_encoder)
    assert "tokens" not in capsys.readouterr().err
    config = clip_encoder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_max_length": 60}))
    tokens = made(clip_encoder).language.texts.get_buffer("prompts")
    prompts = [text for one in load_descriptions("nw-ucla") for text in one.prompts()]
    long = sum(len(text.replace(" ", "")) + 2 > 60 for text in prompts)  # a token for each letter
    assert 0 < long < len(prompts)
    said = f"{long} of 90 texts have more than the 60 tokens that text encoder 'clip' can read"
    assert capsys.readouterr().err.count(said) == 1
    assert tokens.shape == (40, 60)
    assert (tokens == tokens.max()).any(1).all()  # each keeps its end


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(TextError, match=r"pip install 'kinegraph\[text\]'"):
        made(Path("tests"))
