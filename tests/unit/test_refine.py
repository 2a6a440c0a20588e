"""FR-Head's objective: what its contrast counts, moves and leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kinegraph.backbones import BACKBONES, build_backbone
from kinegraph.batch import Batch
from kinegraph.errors import RecipeError
from kinegraph.objectives import RefineConfig, build_objective
from kinegraph.objectives.classify import Classify
from kinegraph.objectives.contrast import KEPT, Contrast, StageHead, resample
from kinegraph.objectives.refine import Refine
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import Checkpoint, load_checkpoint
from kinegraph.training.loop import Training
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.setup import open_data

CLASSES = 4
VERSIONS = ("V0", "V1", "V2", "NO FN", "NO FP", "NO FN & FP")


def refine(layout: str = "sbu15", *, persons: int = 2, width: int = 8, **options: Any) -> Refine:
    skeleton = load_layout(layout)
    config = BACKBONES["ctrgcn"].config.model_validate({"width": width})
    torch.manual_seed(0)
    objective = build_objective(
        RefineConfig.model_validate(options),
        lambda: build_backbone(config, skeleton, persons=persons),
        num_classes=CLASSES,
        skeleton=skeleton,
    )
    assert isinstance(objective, Refine)
    return objective


def some_batch(frames: int = 9, joints: int = 15) -> Batch:
    x = torch.randn(6, 3, frames, joints, 2)
    present = torch.tensor([[True, True], [True, False]] * 3)
    return Batch(x, torch.tensor([0, 1, 2, 0, 1, 2]), torch.arange(6), present)


def some_descriptions() -> tuple[Tensor, Tensor, Tensor]:
    """Return two places' descriptions, logits and labels: 1 right, 1 missed as class 2, 1 right."""
    logits = torch.tensor([[4.0, 0, 0, 0], [0, 0, 2.0, 0], [0, 0, 0.5, 0]])
    return torch.randn(2, 3, 5), logits, torch.tensor([0, 1, 2])


def test_clips_are_told_apart() -> None:
    _, logits, label = some_descriptions()
    hits = Contrast(2, CLASSES, 5, threshold=0.5).hits(logits.softmax(1), label)
    assert hits.right.nonzero().tolist() == [[0, 0]], "the third is right, and not sure enough"
    assert hits.missed.nonzero().tolist() == [[1, 1]]
    assert hits.mistaken.nonzero().tolist() == [[1, 2]]


def test_prototypes_of_classes_that_were_hit_move() -> None:
    features, logits, label = some_descriptions()
    contrast = Contrast(2, CLASSES, 5)
    before = contrast.prototypes.clone()
    contrast.eval()(features, logits, label)
    assert torch.equal(contrast.prototypes, before)
    contrast.train()(features, logits, label)
    expected = before.clone()
    for clip, one in ((0, 0), (2, 2)):
        expected[:, one] = KEPT * before[:, one] + (1 - KEPT) * features[:, clip]
    torch.testing.assert_close(contrast.prototypes, expected)
    assert not contrast.prototypes.requires_grad


def test_a_threshold_that_nobody_reaches_moves_nothing() -> None:
    features, logits, label = some_descriptions()
    contrast = Contrast(2, CLASSES, 5, threshold=0.99).train()
    before = contrast.prototypes.clone()
    contrast(features, logits, label)
    assert torch.equal(contrast.prototypes, before)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("weigh_by_probability", [True, False])
def test_the_loss_is_that_of_the_paper(version: Any, weigh_by_probability: bool) -> None:
    """Clip by clip and class by class, in plain loops."""
    features, logits = torch.randn(2, 12, 5), torch.randn(12, CLASSES)
    label = torch.arange(12) % CLASSES
    contrast = Contrast(
        2, CLASSES, 5, version=version, weigh_by_probability=weigh_by_probability
    ).eval()  # fmt: skip
    found = contrast(features, logits, label)
    for place in range(2):
        torch.testing.assert_close(
            found[place],
            _by_hand(contrast, features[place], contrast.prototypes[place], logits, label),
        )


def _by_hand(
    contrast: Contrast, features: Tensor, prototypes: Tensor, logits: Tensor, label: Tensor
) -> Tensor:
    version, probability = contrast.version, logits.softmax(1)
    found = logits.argmax(1)
    total = torch.zeros(())
    for kind in ("FN", "FP"):
        for clip, feature in enumerate(features):
            own = int(label[clip])
            scores = torch.stack([functional.cosine_similarity(feature, p, 0) for p in prototypes])
            for one in range(CLASSES):
                missed = (label == one) & (found != one)
                mistaken = (label != one) & (found == one)
                confused = features[missed if kind == "FN" else mistaken]
                if not len(confused) or f"NO {kind}" in version or version == "NO FN & FP":
                    continue
                sign = 1 if kind == "FN" else -1
                with_whom = prototypes[one] if version == "V2" else feature
                gap = sign * functional.cosine_similarity(confused.mean(0), with_whom, 0) - 1
                if version == "V2":
                    scores[one] += gap
                elif one == own and (version == "V0" or found[clip] == own):
                    doubt = 1 - probability[clip, own] if contrast.weigh_by_probability else 1
                    scores[one] += gap * 0.125 * doubt
            loss = -(scores / 0.125).log_softmax(0)[own]
            total += loss * (1 - probability[clip, own] if version == "V2" else 1)
    return total / len(features)


def test_the_classifier_learns_nothing_from_the_contrast() -> None:
    """Its logits say which clips are right; that is no way to get a smaller loss."""
    objective, batch = refine().train(), some_batch()
    objective(batch)["contrast"].backward()
    assert objective.classifier.head.weight.grad is None
    first = next(objective.classifier.backbone.parameters())
    assert first.grad is not None


@pytest.mark.parametrize(("frames", "length"), [(7, 3), (3, 7), (13, 64), (64, 13), (8, 4), (1, 5)])
def test_frames_are_averaged_or_repeated(frames: int, length: int) -> None:
    x = torch.randn(2, 3, frames)
    torch.testing.assert_close(resample(x, length), functional.adaptive_avg_pool1d(x, length))


def test_frames_of_the_right_number_stay() -> None:
    x = torch.randn(2, 3, 9)
    assert resample(x, 9) is x


@pytest.mark.parametrize("frames", [1, 9, 52, 70])
def test_clips_of_any_length(frames: int) -> None:
    objective = refine(frames=52).train()
    parts = objective(some_batch(frames))
    assert all(part.isfinite() for part in parts.values())


def test_absent_people_have_no_part_in_a_description() -> None:
    head = StageHead(6, 8, 15, 32).eval()
    stage = torch.randn(2, 2, 6, 8, 15)
    stage[:, 1] = 0  # as backbones leave it
    counted = torch.tensor([[True, False], [True, False]])
    torch.testing.assert_close(head(stage, counted), head(stage[:, :1]))
    assert not torch.allclose(head(stage), head(stage[:, :1]))
    nobody = torch.zeros(2, 2, dtype=torch.bool)
    assert head(torch.zeros_like(stage), nobody).isfinite().all()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_heads_and_contrast_compile_in_one_piece() -> None:
    """Without a compiler behind: what is traced gives the same numbers, and moves prototypes."""
    stage = torch.randn(12, 2, 6, 9, 15)
    logits, label = torch.randn(12, CLASSES), torch.arange(12) % CLASSES
    losses, prototypes = [], []
    for compiled in (False, True):
        torch.manual_seed(1)
        head, contrast = StageHead(6, 8, 15, 32), Contrast(2, CLASSES, 32)

        def run(head: StageHead = head, contrast: Contrast = contrast) -> Tensor:
            return contrast(head(stage), logits, label)

        traced = torch.compile(run, backend="aot_eager", fullgraph=True) if compiled else run
        losses.append(traced())
        losses[-1].sum().backward()
        prototypes.append(contrast.prototypes.clone())
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(prototypes[1], prototypes[0])


def test_the_total_weighs_its_parts() -> None:
    objective = refine(weight=0.3, level_weights=[1, 2, 3, 4]).train()
    seen: list[Tensor] = []
    objective.contrast.register_forward_hook(lambda _, given, out: seen.append(out))
    parts = objective(some_batch())
    weights = torch.tensor([1.0, 1, 2, 2, 3, 3, 4, 4])
    torch.testing.assert_close(parts["contrast"], (seen[0] * weights).sum())
    torch.testing.assert_close(parts["loss"], parts["classification"] + 0.3 * parts["contrast"])


def test_the_contrast_sets_in_at_its_epoch() -> None:
    objective, batch = refine(start_epoch=2).train(), some_batch()
    for epoch, applied in ((0, False), (1, False), (2, True), (5, True), (1, False)):
        objective.begin_epoch(epoch)
        before = objective.contrast.prototypes.clone()
        parts = objective(batch)
        assert torch.equal(parts["loss"], parts["classification"]) != applied
        assert not torch.equal(objective.contrast.prototypes, before), "they move at any rate"
    assert "applied" not in objective.state_dict()


@pytest.fixture
def training(
    tmp_path: Path, make_store: Callable[..., Path], tiny_recipe: Callable[..., dict[str, Any]]
) -> Callable[..., Training]:
    recipe = parse_recipe(
        tiny_recipe(
            objective={"name": "refine", "width": 34, "start_epoch": 1, "frames": 6},
            data={"store": str(make_store())},
        )
    )

    def make(name: str, resume: Checkpoint | None = None) -> Training:
        run = RunFolder(tmp_path / name)
        run.last.parent.mkdir(parents=True)
        return Training(recipe, open_data(recipe), run, torch.device("cpu"), resume)

    return make


def test_the_loop_tells_the_epoch(training: Callable[..., Training]) -> None:
    run = training("run")
    rows = []
    run._finish_epoch = rows.append  # type: ignore[method-assign]
    for epoch in (0, 1):
        run.progress.epoch = epoch
        rows.append(run._train_epoch())
        run.sums, run.progress.batches = {}, 0
    assert rows[0]["loss"] == rows[0]["classification"]
    assert rows[1]["loss"] > rows[1]["classification"]


def test_prototypes_are_saved_and_go_on(training: Callable[..., Training]) -> None:
    first = training("run")
    first._finish_epoch(first._train_epoch())
    saved = load_checkpoint(first.run.last)
    assert saved.group("model")["contrast.prototypes"].shape == (8, 2, 34)
    again = training("again", saved)
    rows = [run._train_epoch() for run in (first, again)]
    assert [row.pop("seconds") for row in rows]
    assert rows[0] == rows[1]
    left, right = (run.state.objective.state_dict() for run in (first, again))
    assert all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.mark.parametrize(
    ("layout", "persons", "frames", "classes", "network", "heads"),
    [("ntu25", 2, 64, 60, 1_446_672, 536_956), ("ucla20", 1, 52, 10, 1_426_892, 507_305)],
)
def test_nothing_of_it_is_left_after_training(
    layout: str, persons: int, frames: int, classes: int, network: int, heads: int
) -> None:
    skeleton = load_layout(layout)
    objective = build_objective(
        RefineConfig(frames=frames),
        lambda: build_backbone(BACKBONES["ctrgcn"].config(), skeleton, persons=persons),
        num_classes=classes,
        skeleton=skeleton,
    )
    assert sum(weight.numel() for weight in objective.parameters()) == network + heads
    assert isinstance(objective, Refine)
    assert sum(weight.numel() for weight in objective.classifier.parameters()) == network
    objective.stages = objective.contrast = None  # type: ignore[assignment]
    frozen = objective.eval().freeze()
    assert isinstance(frozen, Classify)
    x = torch.randn(1, 3, frames, skeleton.joint_count, persons)
    torch.testing.assert_close(frozen.logits(x), objective.logits(x), rtol=1e-3, atol=1e-4)
    assert objective.embed(x).shape == (1, 256)


def test_a_network_without_joints_is_refused() -> None:
    skeleton = load_layout("ntu25")
    with pytest.raises(RecipeError, match=r"TCN has none of low, mid, high, final: choose"):
        build_objective(
            RefineConfig(),
            lambda: build_backbone(BACKBONES["tcn"].config(), skeleton),
            num_classes=2,
            skeleton=skeleton,
        )
