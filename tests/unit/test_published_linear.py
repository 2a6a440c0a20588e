"""AimCLR's linear evaluation on features computed once, against a run that really trains a head."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinegraph.cli import main
from kinegraph.errors import ScoreError
from kinegraph.evaluation import published_linear
from kinegraph.evaluation.judges import Described
from kinegraph.evaluation.opening import open_run
from kinegraph.evaluation.probe import embed_clips
from kinegraph.evaluation.published_linear import (
    BEST,
    PublishedLinear,
    first_head,
    mean_length,
    train_head,
)
from kinegraph.evaluation.testing import score_run
from kinegraph.recipe import parse_recipe
from kinegraph.training.beginning import encoders
from kinegraph.training.checkpoint import load_checkpoint
from kinegraph.training.loop import Training
from kinegraph.training.run import start
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.setup import open_data

CPU = torch.device("cpu")
CROP = [{"name": "crop_resize", "length": 6, "proportion": [0.5, 1.0]}]
STILL = [{"name": "crop_resize", "length": 6}]


@pytest.fixture
def learned(
    tmp_path: Path, make_store: Callable[..., Path], tiny_recipe: Callable[..., dict[str, Any]]
) -> Path:
    """A run of one epoch without labels."""
    values = tiny_recipe(
        transforms={"query": CROP, "key": CROP, "test": STILL},
        objective={"name": "skeletonclr", "queue": 5, "width": 4},
        training={"epochs": 1},
        data={"store": str(make_store(per_class=9)), "split": "subjects"},
    )
    start(parse_recipe(values), RunFolder(tmp_path / "run"), device="cpu")
    return tmp_path / "run"


def test_features_computed_once_give_the_numbers_of_a_run(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_linear, "BATCH", 4)
    monkeypatch.setattr(published_linear, "EPOCHS", 5)
    monkeypatch.setattr(published_linear, "DROP_AFTER", 3)
    before = load_checkpoint(RunFolder(learned).last)
    values = before.recipe.model_dump(mode="json") | {
        "transforms": {"train": STILL, "test": STILL},
        "objective": {"name": "classify", "head_deviation": 0.02},
        "start": {"run": str(learned), "learns": "head"},
        "optim": {"lr": 3.0, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
        "schedule": {"name": "multi-step", "steps": [3], "factor": 0.1},
        "training": {"epochs": 5, "batch_size": 4, "drop_last": False},
        "evaluation": {"every": 5},
    }
    recipe, run = parse_recipe(values), RunFolder(tmp_path / "head")
    training = Training(recipe, open_data(recipe), run, CPU)
    head = copy.deepcopy(training.state.objective.head)
    begun = head.weight.detach().clone()
    run.path.mkdir()
    training.fit()

    opened = open_run(learned)
    x = {part: embed_clips(before.build(), opened, part, CPU) for part in ("train", "test")}
    y = {
        part: opened.data.store.clips["label"][opened.data.rows[part]].astype(np.int64)
        for part in x
    }
    epochs = list(train_head(head, x["train"], y["train"], seed=recipe.seed))
    assert epochs == [1, 2, 3, 4, 5]
    assert not torch.allclose(head.weight, begun, rtol=0.1)
    for name, tensor in training.state.objective.head.state_dict().items():
        torch.testing.assert_close(head.state_dict()[name], tensor, rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        logits = head(torch.from_numpy(x["test"]))
    np.testing.assert_allclose(logits, score_run(run.path).scores.logits, rtol=1e-3, atol=1e-4)
    # Weights and batch statistics of the encoder stay as they were, bit by bit.
    (frozen,) = encoders(training.state.objective).values()
    (own,) = encoders(before.build()).values()
    for name, tensor in own.state_dict().items():
        assert torch.equal(frozen.state_dict()[name], tensor), name


def clips(rng: np.random.Generator, scale: float = 1.0) -> Described:
    train_y, test_y = np.arange(60) % 3, np.arange(30) % 3
    corners = np.eye(3, 5)

    def near(y: np.ndarray) -> np.ndarray:
        return ((corners[y] + rng.normal(0, 0.05, (len(y), 5))) * scale).astype(np.float32)

    return Described(near(train_y), train_y, near(test_y), test_y)


def test_the_schedule_is_the_published_one(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    step = torch.optim.SGD.step

    def noted(self: torch.optim.SGD, *given: Any) -> Any:
        seen.append({k: v for k, v in self.param_groups[0].items() if k != "params"})
        return step(self, *given)

    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    described = clips(rng)
    assert PublishedLinear()(described) == PublishedLinear()(described) == {"top-1": 1, BEST: 1}
    assert len(seen) == 2 * 100, "batches of 128"
    rates = [group["lr"] for group in seen[:100]]
    assert rates == [3.0] * 80 + [pytest.approx(0.3)] * 20
    assert {(g["momentum"], g["nesterov"], g["weight_decay"]) for g in seen} == {(0.9, False, 0)}
    head = first_head(200, 50, 0)
    assert float(head.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not head.bias.detach().any()
    assert not torch.equal(first_head(200, 50, 1).weight, head.weight)


def test_the_last_epoch_counts_and_the_best_is_kept_apart(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = clips(rng)
    # In the end every clip is taken for another class; after ten epochs all were right.
    turned = [0.0, 1.0, *[0.0] * 18]

    def scripted(head: torch.nn.Linear, *_: Any, **__: Any) -> Any:
        for epoch in range(1, 101):
            with torch.no_grad():
                shift = 0 if turned[(epoch - 1) // 5] else 1
                head.weight.copy_(torch.eye(3, 5).roll(shift, 0))
            yield epoch

    monkeypatch.setattr(published_linear, "train_head", scripted)
    assert PublishedLinear()(described) == {"top-1": 0, BEST: 1}


def test_other_features_are_brought_to_the_length_of_the_first(rng: np.random.Generator) -> None:
    described = clips(rng)
    longer = Described(
        described.train_x * 1e4, described.train_y, described.test_x * 1e4, described.test_y
    )
    judge = PublishedLinear()
    lengths: list[float] = []

    def noting(head: torch.nn.Linear, x: np.ndarray, *_: Any, **given: Any) -> Any:
        lengths.append(mean_length(x))
        return train_head(head, x, *_, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published_linear, "train_head", noting)
        own = judge(described)
        assert judge(longer) == own
    assert lengths[0] == pytest.approx(mean_length(described.train_x))
    assert lengths[1] == pytest.approx(lengths[0], rel=1e-5)
    nothing = Described(
        np.zeros_like(described.train_x), described.train_y, described.test_x, described.test_y
    )
    assert judge(nothing)["top-1"] == pytest.approx(1 / 3, abs=0.34), "zeros have no length"


def test_what_cannot_be_judged_is_refused(rng: np.random.Generator) -> None:
    described = clips(rng)
    with pytest.raises(ScoreError, match="all training clips are of one class"):
        PublishedLinear()(
            Described(described.train_x, np.zeros(60, np.int64), described.test_x, described.test_y)
        )
    broken = described.train_x.copy()
    broken[0] = np.inf
    with pytest.raises(ScoreError, match="the linear layer diverged"):
        PublishedLinear()(Described(broken, described.train_y, described.test_x, described.test_y))


def test_probe_tells_the_last_epoch_and_json_the_best(
    learned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    words = ["probe", str(learned), "--protocol", "linear", "--schedule", "published"]
    assert main([*words, "--device", "cpu"]) == 0
    assert "best epoch" not in capsys.readouterr().out
    page = (learned / "report.html").read_text()
    assert "best epoch" not in page
    assert main([*words, "--device", "cpu", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["schedule"] == "published"
    for row in facts["rows"].values():
        assert 0 <= row["top-1"] <= row[BEST] <= 1
    assert main([*words, "--strength", "1"]) == 2
    assert "--strength belongs to --schedule exact" in capsys.readouterr().err
    assert main(["probe", str(learned), "--schedule", "exact"]) == 2
    assert "--schedule belongs to --protocol linear, not to knn" in capsys.readouterr().err
