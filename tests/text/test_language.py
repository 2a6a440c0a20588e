"""The objective `language`: parts, names drawn, several processes, and what tests are spared."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, Thread

import numpy as np
import pytest
import torch
from torch import Tensor

from kinegraph.backbones import CTRGCNConfig, build_backbone
from kinegraph.batch import Batch
from kinegraph.data.loader import Share
from kinegraph.errors import RecipeError
from kinegraph.objectives import LanguageConfig, build_objective
from kinegraph.objectives.classify import Classify
from kinegraph.objectives.language import Language
from kinegraph.objectives.language_parts import ORIGINAL, part_lists
from kinegraph.objectives.language_texts import TableTexts
from kinegraph.skeleton import layout_names, load_layout
from kinegraph.text.table import PARTS, TextTable


def small(
    classes: int = 5, layout: str = "ucla20", persons: int = 1, **settings: object
) -> Language:
    torch.manual_seed(0)
    skeleton = load_layout(layout)
    objective = build_objective(
        LanguageConfig.model_validate(settings),
        lambda: build_backbone(CTRGCNConfig(width=8), skeleton, persons=persons),
        num_classes=classes,
        skeleton=skeleton,
    )
    assert isinstance(objective, Language)
    return objective


def made_table(counts: list[int], width: int = 6) -> TextTable:
    """Return a table whose names are numbered in their first column."""
    names = np.zeros((sum(counts), width), dtype=np.float16)
    names[:, 0] = np.arange(sum(counts))
    return TextTable(
        names=names,
        counts=np.array(counts),
        parts=np.ones((4, len(counts), width), dtype=np.float16),
        classes=tuple(f"class {k}" for k in range(len(counts))),
        encoder="",
        encoder_hash="",
        texts_hash="",
    )


@pytest.mark.parametrize("layout", layout_names())
def test_every_layout_has_all_parts(layout: str) -> None:
    skeleton = load_layout(layout)
    found = part_lists(skeleton)
    assert tuple(sorted(found)) == tuple(sorted(PARTS))
    assert all(joints for joints in found.values())
    hands = {*skeleton.parts["hands"], *skeleton.parts["arms"]}
    assert set(found["hand"]) == hands or not hands


def test_the_lists_of_the_original_are_quirks() -> None:
    skeleton = load_layout("ntu25")
    assert part_lists(skeleton)["foot"] == (13, 14, 15, 17, 18, 19)
    assert part_lists(skeleton, original="joints")["foot"] == tuple(range(12, 20))
    assert part_lists(skeleton, original="bones") == ORIGINAL["ntu25", "bones"]
    coco = load_layout("coco17")
    assert part_lists(coco, original="bones") == part_lists(coco)


def test_a_part_is_the_mean_over_its_joints_frames_and_people() -> None:
    objective = small(layout="ntu25", persons=2).eval()
    channels = objective.backbone.out_channels
    final = torch.randn(2, 2, channels, 3, 25)
    final[1, 1] = 0  # nobody there
    pooled, people = torch.randn(2, channels), torch.tensor([[2], [1]])
    found = objective.language.features(pooled, final, people)
    joints = part_lists(load_layout("ntu25"))
    for place, part in enumerate(PARTS, start=1):
        inside = final[..., list(joints[part])]
        both, alone = inside[0].mean((0, 2, 3)), inside[1, 0].mean((1, 2))
        expected = objective.language.parts[part](torch.stack((both, alone)))
        torch.testing.assert_close(found[place], expected)


def test_names_are_drawn_in_training_alone() -> None:
    texts = TableTexts(made_table([1, 3, 2]))
    label = torch.arange(3).repeat(200)
    drawn = texts.train()(label)[0][:, 0]
    assert [sorted(set(drawn[label == k].tolist())) for k in range(3)] == [[0], [1, 2, 3], [4, 5]]
    assert texts.eval()(label)[0][:, 0].unique().tolist() == [0, 1, 4]


def test_the_contrast_counts_with_its_weight() -> None:
    x = torch.randn(4, 3, 12, 20, 1)
    batch = Batch(x, torch.tensor([0, 1, 1, 2]), torch.arange(4), torch.ones(4, 1) > 0)
    for weight in (0.0, 0.8):
        parts = small(weight=weight).eval()(batch)
        expected = parts["classification"] + weight * parts["text"]
        torch.testing.assert_close(parts["loss"], expected)
        assert parts["text"] > 0


def test_texts_in_the_features_own_direction_lower_the_contrast() -> None:
    objective = small()
    label = torch.tensor([0, 1, 2, 3])
    own = [torch.eye(4)] * 5
    others = [torch.eye(4).roll(1, 0)] * 5
    assert (objective.contrast(own, own, label) < objective.contrast(own, others, label)).all()


def in_processes(
    sizes: list[int], work: Callable[[Share, Callable[[Tensor], Tensor]], None]
) -> None:
    """Run work in threads that stand for processes; ``reduce`` sums over them."""
    barrier, slots = Barrier(len(sizes)), [torch.empty(0)] * len(sizes)
    failed: list[BaseException] = []

    def start(rank: int) -> None:
        def reduce(values: Tensor) -> Tensor:
            slots[rank] = values
            barrier.wait(10)
            total = sum(slots[1:], slots[0].clone())
            barrier.wait(10)
            return total

        try:
            work(Share(rank, len(sizes)), reduce)
        except BaseException as error:
            failed.append(error)
            barrier.abort()

    threads = [Thread(target=start, args=(rank,)) for rank in range(len(sizes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed


@pytest.mark.parametrize("sizes", [[2, 2], [2, 2, 1], [1, 1, 0]])
def test_several_processes_have_the_contrast_of_the_whole_batch(sizes: list[int]) -> None:
    whole = sum(sizes)
    random = torch.Generator().manual_seed(3)
    features = torch.randn(5, whole, 6, generator=random)
    texts = torch.randn(5, whole, 6, generator=random)
    label = torch.tensor([0, 1, 1, 2, 0])[:whole]
    alone = small()
    given = [feature.clone().requires_grad_() for feature in features]
    expected = alone.contrast(given, list(texts), label)
    expected.mean().backward()
    totals, gradients = [torch.zeros(5)] * len(sizes), [torch.zeros(0)] * len(sizes)
    scales = [torch.zeros(0)] * len(sizes)

    def work(share: Share, reduce: Callable[[Tensor], Tensor]) -> None:
        objective = small()
        objective.reduce, objective.share = reduce, share
        place = share.of(whole)
        assert place.stop - place.start == sizes[share.rank]
        mine = [feature[place].clone().requires_grad_() for feature in features]
        terms = objective.contrast(mine, [text[place] for text in texts], label[place], whole)
        part = terms * (sizes[share.rank] / whole)
        part.mean().backward()
        totals[share.rank] = part.detach() if sizes[share.rank] else torch.zeros(5)
        grads = [feature.grad for feature in mine if feature.grad is not None]
        gradients[share.rank] = torch.stack(grads)
        assert objective.language.scale.grad is not None
        scales[share.rank] = objective.language.scale.grad

    in_processes(sizes, work)
    torch.testing.assert_close(sum(totals[1:], totals[0]), expected.detach())
    wanted = torch.stack([feature.grad for feature in given if feature.grad is not None])
    torch.testing.assert_close(torch.cat(gradients, dim=1), wanted)
    assert alone.language.scale.grad is not None
    torch.testing.assert_close(sum(scales[1:], scales[0]), alone.language.scale.grad)


def test_tests_are_spared_the_texts() -> None:
    objective = small().eval()
    skeleton = load_layout("ucla20")
    plain = Classify(build_backbone(CTRGCNConfig(width=8), skeleton, persons=1), 5)
    bare = objective.bare()
    shapes = {name: tensor.shape for name, tensor in plain.state_dict().items()}
    assert {name: tensor.shape for name, tensor in bare.state_dict().items()} == shapes
    x = torch.randn(2, 3, 12, 20, 1)
    assert torch.equal(bare.logits(x), objective.logits(x))
    assert not any("language" in name for name, _ in objective.freeze().named_parameters())


def test_tests_do_without_the_table() -> None:
    skeleton = load_layout("ucla20")
    bare = build_objective(
        LanguageConfig(texts="gone.safetensors", dropout=0.5),
        lambda: build_backbone(CTRGCNConfig(width=8), skeleton, persons=1),
        num_classes=5,
        skeleton=skeleton,
        bare=True,
    )
    trained = small()
    assert list(bare.state_dict()) == list(trained.bare().state_dict())
    left = set(trained.state_dict()) - set(bare.state_dict())
    assert all(name.startswith(bare.training_only) for name in left)


def test_texts_of_too_few_classes_are_refused() -> None:
    with pytest.raises(RecipeError, match="are about 10 classes, the data have 11"):
        small(classes=11, texts="nw-ucla")


def test_texts_about_other_classes_are_refused() -> None:
    objective = small(classes=3)
    objective.check_classes(["Drink water", "eat_meal", "brush teeth"])
    objective.check_classes(["A001", "class 1", "brush teeth"])
    with pytest.raises(RecipeError, match="describe class 1 as 'eat meal', but the store calls it"):
        objective.check_classes(["drink water", "brush teeth", "eat meal"])
