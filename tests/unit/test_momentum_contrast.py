"""Queue, key encoders, attention drop, mining: SkeletonCLR, AimCLR and CrosSCLR by hand."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kinegraph.backbones import STGCNConfig, build_backbone
from kinegraph.batch import Batch
from kinegraph.benchmarking.measure import work_of
from kinegraph.benchmarking.workbench import set_up
from kinegraph.cli import main
from kinegraph.errors import RecipeError
from kinegraph.objectives import OBJECTIVES, build_objective
from kinegraph.objectives.attention_drop import attention_drop
from kinegraph.objectives.encoders import projection
from kinegraph.objectives.momentum_contrast import (
    MomentumContrast,
    Queue,
    compare,
    nearest,
    positives_loss,
)
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import load_checkpoint
from kinegraph.training.guards import Interrupted
from kinegraph.training.run import resume, start
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.step import Stepper

Train = Callable[..., RunFolder]


def build(name: str, *, original: bool = False, **settings: Any) -> MomentumContrast:
    torch.manual_seed(0)
    skeleton = load_layout("coco17")
    values = {"name": name, "queue": 6, "width": 5, **settings}
    objective = build_objective(
        OBJECTIVES[name].config.model_validate(values),
        lambda: build_backbone(
            STGCNConfig(width=4, last_width=12), skeleton, persons=1, original=original
        ),
        num_classes=3,
        skeleton=skeleton,
        original=original,
    )
    assert isinstance(objective, MomentumContrast)
    return objective


def some_views(objective: MomentumContrast, clips: int = 4) -> list[Batch]:
    index, everyone = torch.arange(clips), torch.ones(clips, 1, dtype=torch.bool)
    return [
        Batch(torch.randn(clips, 3, 8, 17, 1), index * 0 - 1, index, everyone)
        for _ in objective.views
    ]


def weights(module: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_the_newest_keys_stay_and_the_oldest_go() -> None:
    queue = Queue(5, 2)
    assert torch.allclose(queue.keys.norm(dim=0), torch.ones(5))
    keys = torch.arange(24.0).view(12, 2)
    queue.enqueue(keys[:3])
    queue.enqueue(keys[3:6])  # no multiple of the queue: the last one is put in at the beginning
    assert queue.keys[0].tolist() == [10, 2, 4, 6, 8]
    assert queue.place.tolist() == [1]
    queue.enqueue(keys[6:6])
    assert queue.place.tolist() == [1]
    queue.enqueue(torch.cat((keys[:6] + 100, keys[6:])))  # more than it holds
    assert sorted(queue.keys[0].tolist()) == keys[7:, 0].tolist()
    assert queue.place.tolist() == [(1 + 12) % 5]
    queue.enqueue(keys[:1] - 1)
    assert queue.keys[0].tolist().count(-1) == 1
    assert 14 not in queue.keys[0].tolist(), "the oldest went"


def test_frozen_encoders_with_a_wide_last_block_answer_the_same() -> None:
    objective = build("crossclr").eval()
    (batch, _) = some_views(objective)
    features = objective.embed(batch.x)
    assert features.shape == (4, 3 * 12)
    torch.testing.assert_close(objective.freeze().embed(batch.x), features, rtol=1e-4, atol=1e-5)


def test_only_training_fills_the_queue_and_negatives_outlive_it() -> None:
    objective = build("skeletonclr").eval()
    before = objective.queue["clips"].keys.clone()
    objective(*some_views(objective))
    assert torch.equal(objective.queue["clips"].keys, before)
    loss = objective.train()(*some_views(objective))["loss"]
    assert objective.queue["clips"].place.tolist() == [4]
    loss.backward()  # needs the keys as they were


def test_keys_start_as_copies_and_follow_after_a_step() -> None:
    objective = build("aimclr", momentum=0.9).train()
    assert torch.equal(weights(objective.key), weights(objective.query))
    objective(*some_views(objective))["loss"].backward()
    start = weights(objective.key)
    with torch.no_grad():
        for parameter in objective.query.parameters():
            parameter.sub_(0.1 * parameter.grad)
    assert torch.equal(weights(objective.key), start), "no pass moves them"
    objective.after_step()
    expected = 0.9 * start + 0.1 * weights(objective.query)
    assert not torch.allclose(weights(objective.query), start)
    torch.testing.assert_close(weights(objective.key), expected)
    assert not any(parameter.requires_grad for parameter in objective.key.parameters())
    assert all(parameter.requires_grad for parameter in objective.query.parameters())


def test_the_originals_keys_start_apart_and_are_one_step_ahead() -> None:
    settled = build("aimclr", original=True, momentum=0.999)
    apart = build("aimclr", original=True, momentum=0.0)  # after one step, where the queries are
    torch.testing.assert_close(weights(apart.key), weights(apart.query))
    assert (weights(settled.key) - weights(settled.query)).norm() > 1


def test_positives_share_the_loss() -> None:
    logits, mask = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([[1.0, 0.0, 1.0]])
    expected = -(logits.log_softmax(1)[0, [0, 2]]).mean()
    torch.testing.assert_close(positives_loss(logits, mask), expected)
    only = torch.tensor([[1.0, 0.0, 0.0]])
    own = functional.cross_entropy(logits, torch.tensor([0]))
    torch.testing.assert_close(positives_loss(logits, only), own)
    assert nearest(torch.tensor([[0.1, 0.9, 0.5]]), 2).tolist() == [[0.0, 1.0, 1.0]]


def test_neighbours_are_positives_from_their_epoch_on() -> None:
    objective: Any = build("aimclr", mining_epoch=2, top_k=2)
    cosines = [torch.randn(3, 7) for _ in range(3)]
    for epoch, mined in ((0, False), (1, False), (2, True), (5, True)):
        objective.begin_epoch(epoch)
        found = objective.positives(cosines)
        assert found[:, 0].tolist() == [1.0] * 3
        union = torch.zeros(3, 6)
        for each in cosines:
            union[torch.arange(3)[:, None], each[:, 1:].topk(2).indices] = 1
        assert torch.equal(found[:, 1:], union * mined)
    assert union.sum(1).max() > 2, "of the three kinds of query together"


def test_what_stands_out_is_dropped_and_no_clip_knows_of_another() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 2, 4, 6, 5)
    x[0, 0, :, :, 2] += 9  # a joint that is unlike the others
    dropped = attention_drop(x)
    assert not dropped[0, 0, :, :, 2].any()
    assert dropped[0, 0].any()
    torch.testing.assert_close(attention_drop(x[:1])[0], dropped[0])
    together, alone = (attention_drop(clips, whole_batch=True)[0] for clips in (x, x[:1]))
    assert not torch.allclose(together, alone)
    # What is left is larger by what was taken, of joints and of numbers.
    left = dropped[1, 1] / x[1, 1]
    scale = left[left != 0]
    joints = (dropped[1, 1] != 0).any(0).any(0).float().mean()
    assert float(scale.std()) < 1e-5
    assert float(scale.mean()) > 1 / float(joints) - 1e-4


@pytest.mark.parametrize("whole_batch", [False, True])
def test_a_map_of_which_nothing_is_left_is_zero(whole_batch: bool) -> None:
    x = torch.randn(2, 1, 4, 6, 5, requires_grad=True)
    dropped = attention_drop(x, keep=0.1, whole_batch=whole_batch)
    assert not dropped.detach().any()
    assert attention_drop(x[:, :, :, :1, :1], whole_batch=whole_batch).isfinite().all()


def test_no_gradient_moves_what_extreme_views_are_to_be_like() -> None:
    objective = build("aimclr").eval()
    views = some_views(objective)
    for batch in views:
        batch.x.requires_grad_()
    parts = objective(*views)
    (parts["extreme"] + parts["dropped"]).backward()
    assert [batch.x.grad is not None for batch in views] == [True, False, False]


def test_streams_have_heads_and_keys_of_their_own_which_all_follow() -> None:
    objective = build("crossclr", momentum=0.5).train()
    assert list(objective.query) == ["joint", "joint-motion", "bone"]
    objective.begin_epoch(200)
    with torch.no_grad():
        for parameter in objective.query.parameters():
            parameter.add_(1)
    before = weights(objective.key)
    objective.after_step()
    torch.testing.assert_close(weights(objective.key), before + 0.5)


def test_the_originals_shared_head_and_its_frozen_keys() -> None:
    objective = build("crossclr", original=True, momentum=0.5).train()
    for epoch, moved in ((0, (0.5, 0.5, 0.5, 0.875)), (150, (0.0, 0.5, 0.0, 0.5))):
        objective.begin_epoch(epoch)
        objective.key.load_state_dict(objective.query.state_dict())
        start = copy.deepcopy(objective.key)
        with torch.no_grad():
            for parameter in objective.query.parameters():
                parameter.add_(1)
        objective.after_step()
        parts = [f"{stream}.backbone" for stream in objective.query]
        for part, share in zip((*parts, "joint.head"), moved, strict=True):
            now, then = (weights(m.get_submodule(part)) for m in (objective.key, start))
            torch.testing.assert_close(now, then + share, rtol=1e-4, atol=1e-5)


def test_only_heads_of_the_original_start_small() -> None:
    torch.manual_seed(0)
    for original, least, most in ((False, 0.04, 0.06), (True, 0.015, 0.025)):
        first, second = projection(128, 128, 64, original=original)[::2]
        for linear in (first, second):
            assert least < float(linear.weight.detach().std()) < most
            assert bool(linear.bias.any()) != original
        made: Any = build("skeletonclr", original=original)
        assert bool(made.query["clips"].head[0].bias.any()) != original


def test_without_context_only_keys_are_compared() -> None:
    objective: Any = build("crossclr", context=False)
    own, other = (torch.rand(3, 7) for _ in range(2))
    logits, positives = objective.pair(own, other)
    torch.testing.assert_close(logits, own / 0.07)
    place = 1 + other[:, 1:].argmax(1, keepdim=True)
    torch.testing.assert_close(
        positives, torch.zeros(3, 7).scatter(1, place, 1.0).index_fill(1, torch.tensor([0]), 1.0)
    )


def test_streams_take_over_neighbours_from_their_epoch_on() -> None:
    objective: Any = build("crossclr", cross_epoch=1).eval()
    views = some_views(objective)
    objective.begin_epoch(0)
    alone = objective(*views)
    objective.begin_epoch(1)
    crossed = objective(*views)
    cosines = {}
    for stream in objective.query:
        queries = objective.describe(objective.query, stream, views[0])
        keys = objective.keys_of(stream, views[1])
        cosines[stream] = compare(queries, keys, objective.queue[stream].keys)
    own, *others = cosines.values()
    expected = functional.cross_entropy(own / 0.07, torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(alone["joint"], expected)
    losses = []
    for other in others:
        scaled = torch.cat((own, own[:, 1:] * other[:, 1:]), 1) / 0.07
        place = other[:, 1:].argmax(1)
        chosen = torch.stack((place * 0, 1 + place, 7 + place), 1)
        losses.append(-scaled.log_softmax(1).gather(1, chosen).mean())
    torch.testing.assert_close(crossed["joint"], torch.stack(losses).mean())


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("skeletonclr", {"queue": 10}, []),
        ("skeletonclr", {"queue": 11}, ["objective.queue 11 is more than the 10 training clips"]),
        ("aimclr", {"queue": 4, "mining_epoch": 4}, []),
        ("aimclr", {"queue": 12, "mining_epoch": 5},
         ["objective.queue 12 is more", "objective.mining_epoch 5 does not come in 5 epochs"]),
        ("crossclr", {"queue": 4, "cross_epoch": 4}, []),
        ("crossclr", {"queue": 4, "cross_epoch": 9}, ["cross_epoch 9 does not come in 5 epochs"]),
    ],
)  # fmt: skip
def test_what_may_have_been_overlooked_is_said(
    name: str, settings: dict[str, Any], said: list[str]
) -> None:
    found = build(name, **settings).remarks(5, 10)
    assert len(found) == len(said)
    assert all(words in remark for words, remark in zip(said, found, strict=True))


@pytest.mark.parametrize(
    ("name", "settings", "original", "reason"),
    [
        ("aimclr", {"top_k": 7}, False, r"top_k 7 is more than the 6 keys"),
        ("crossclr", {"streams": ["joint", "bones"]}, False, "unknown stream 'bones'"),
        ("crossclr", {"streams": ["bone", "bone"]}, False, "names one twice"),
        ("crossclr", {"streams": ["bone", "joint"]}, True, "the original of CrosSCLR knows only"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    name: str, settings: dict[str, Any], original: bool, reason: str
) -> None:
    with pytest.raises(RecipeError, match=reason):
        build(name, original=original, **settings)


def unlabelled(name: str, **settings: Any) -> dict[str, Any]:
    """Return sections of a recipe."""
    views = ("extreme", "query", "key")
    crop = [{"name": "crop_resize", "length": 6, "proportion": [0.5, 1.0]}]
    transforms = {**dict.fromkeys(views, crop), "test": crop}
    objective = {"name": name, "queue": 5, "width": 4, **settings}
    return {"transforms": transforms, "objective": objective}


@pytest.fixture
def train(
    tmp_path: Path, make_store: Callable[..., Path], tiny_recipe: Callable[..., dict[str, Any]]
) -> Train:
    store = make_store()

    def run(name: str = "run", **sections: Any) -> RunFolder:
        folder = RunFolder(tmp_path / name)
        recipe = parse_recipe(tiny_recipe(data={"store": str(store)}, **sections))
        start(recipe, folder, device="cpu")
        return folder

    return run


def stop_before(patch: pytest.MonkeyPatch, number: int) -> None:
    """Let a signal come before the step of this number."""
    step, count = Stepper.step, [0]

    def counted(self: Stepper, group: Any) -> Any:
        count[0] += 1
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, group)

    patch.setattr(Stepper, "step", counted)


def test_a_run_without_labels_resumes_with_the_same_bits(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = unlabelled("aimclr", mining_epoch=1)
    sections |= {"quirks": "original", "training": {"batch_size": 2}}
    whole = train("whole", **sections)
    rows = [json.loads(line) for line in whole.metrics.read_text().splitlines()]
    assert all({"loss", "contrast", "extreme", "dropped"} <= row.keys() for row in rows)
    assert not any(key.endswith("_top1") for row in rows for key in row)
    with monkeypatch.context() as patch:
        stop_before(patch, 5)
        with pytest.raises(Interrupted):
            train("cut", **sections)
    cut = RunFolder(whole.path.parent / "cut")
    assert load_checkpoint(cut.last).step > 0, "in the middle of an epoch"
    resume(cut, device="cpu")
    expected = load_checkpoint(whole.last).tensors
    assert int(expected["model/queue.clips.place"]) > 0
    for name, tensor in load_checkpoint(cut.last).tensors.items():
        assert torch.equal(tensor, expected[name]), name

    x = torch.randn(1, 3, 6, 17, 2)
    alone = load_checkpoint(whole.last).build()
    assert alone.embed(x).shape == (1, 16)
    assert not hasattr(alone, "queue")
    assert main(["test", str(whole.path), "--device", "cpu"]) == 2
    assert "knows no classes yet" in capsys.readouterr().err.splitlines()[-1]


def test_its_speed_is_measured_by_features(
    make_store: Callable[..., Path], tiny_recipe: Callable[..., dict[str, Any]]
) -> None:
    recipe = parse_recipe(tiny_recipe(**unlabelled("aimclr")))
    with set_up(recipe, make_store(), torch.device("cpu")) as bench:
        assert bench.scoring(2, bench.objective.freeze())().shape == (2, 16)
        work = work_of(bench)
        assert work["training"].flops > 3 * work["inference"].flops > 0
        bench.step()


def test_a_run_says_at_its_beginning_what_may_have_been_overlooked(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(**unlabelled("aimclr", mining_epoch=2))
    said = "objective.mining_epoch 2 does not come in 2 epochs"
    assert said in capsys.readouterr().err
    assert said in (run.path / "log.txt").read_text()
