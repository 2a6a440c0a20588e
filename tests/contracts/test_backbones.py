"""Every backbone, on every layout, with one person and with two."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import Tensor

from kinegraph.backbones import BACKBONES
from kinegraph.backbones.base import Backbone
from kinegraph.errors import RecipeError
from kinegraph.nn.persons import plan_rows
from kinegraph.skeleton import load_layout

from .samples import LAYOUTS, MADE, settle, small_backbone, some_clips

every_backbone = pytest.mark.parametrize("name", BACKBONES)


@every_backbone
@pytest.mark.parametrize("layout", [*LAYOUTS, pytest.param(MADE, id="made")])
@pytest.mark.parametrize("persons", [1, 2])
def test_shapes(name: str, layout: str, persons: int) -> None:
    backbone = small_backbone(name, layout, persons).eval()
    x, present = some_clips(layout, persons, clips=3)
    stages = tuple(backbone.stage_channels)
    features = backbone(x, present, stages=stages)
    assert features.pooled.shape == (3, backbone.out_channels)
    assert features.pooled.isfinite().all()
    assert tuple(features.stages) == stages
    for stage in stages:
        frames = -(-x.shape[2] // backbone.stage_strides[stage])
        joints = load_layout(layout).joint_count
        expected = (3, persons, backbone.stage_channels[stage], frames, joints)
        assert features.stages[stage].shape == expected


@every_backbone
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 16])
def test_any_length(name: str, frames: int) -> None:
    backbone = small_backbone(name)
    x, present = some_clips(frames=frames)
    for training in (True, False):
        features = backbone.train(training)(x, present, stages=tuple(backbone.stage_channels))
        assert features.pooled.isfinite().all()
        for stage, found in features.stages.items():
            assert found.shape[3] == -(-frames // backbone.stage_strides[stage])


@every_backbone
def test_stages_only_when_asked_for(name: str) -> None:
    backbone = small_backbone(name).eval()
    x, present = some_clips()
    assert backbone(x, present).stages == {}
    with pytest.raises(RecipeError, match="unknown stage 'top'"):
        backbone(x, present, stages=("top",))


@every_backbone
def test_pooled_is_the_mean_of_the_final_stage(name: str) -> None:
    backbone = small_backbone(name).eval()
    if "final" not in backbone.stage_channels:
        pytest.skip("a backbone without stages pools in its own way")
    x, present = some_clips()
    features = backbone(x, present, stages=("final",))
    people = features.stages["final"].mean((3, 4))  # (N, M, C)
    expected = people.sum(1) / present.sum(1, keepdim=True)
    torch.testing.assert_close(features.pooled, expected, rtol=1e-4, atol=1e-5)


@every_backbone
@pytest.mark.parametrize("persons", [1, 2])
def test_gradients_reach_every_parameter(name: str, persons: int) -> None:
    backbone = small_backbone(name, persons=persons).train()
    x, present = some_clips(persons=persons)
    x.requires_grad_()
    pooled = backbone(x, present).pooled
    (pooled * torch.randn_like(pooled)).sum().backward()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        # A bias before a batch norm changes nothing: its gradient is zero but for rounding.
        if not parameter_name.endswith("bias"):
            assert parameter.grad.abs().max() > 0, parameter_name
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.abs().amax((1, 2, 3, 4)).min() > 0


@every_backbone
def test_the_same_input_gives_the_same_bits(name: str) -> None:
    backbone = small_backbone(name).eval()
    x, present = some_clips()
    assert torch.equal(backbone(x, present).pooled, backbone(x, present).pooled)


@every_backbone
def test_clips_do_not_see_each_other(name: str) -> None:
    backbone = small_backbone(name).eval()
    x, present = some_clips()
    together = backbone(x, present).pooled
    order = torch.tensor([2, 0, 3, 1])
    _close(backbone(x[order], present[order]).pooled, together[order])
    _close(backbone(x[1:2], present[1:2]).pooled, together[1:2])


@every_backbone
@pytest.mark.parametrize("training", [False, True])
def test_what_lies_in_an_absent_slot_does_not_matter(name: str, training: bool) -> None:
    x, present = some_clips()
    litter = x + 7 * ~present[:, None, None, None, :]
    results = []
    for clips in (x, litter):
        backbone = small_backbone(name).train(training)
        features = backbone(clips, present, stages=tuple(backbone.stage_channels))
        results.append((features, backbone.state_dict()))
    (clean, clean_state), (littered, littered_state) = results
    _close(littered.pooled, clean.pooled)
    for key, value in clean_state.items():
        _close(littered_state[key], value)
    for stage in clean.stages.values():
        assert not stage[1::2, -1].any(), "the map of an absent person is zero"


@every_backbone
def test_an_absent_person_changes_nothing(name: str) -> None:
    one, two = small_backbone(name, persons=1), small_backbone(name, persons=2)
    if {k: v.shape for k, v in one.state_dict().items()} != {
        k: v.shape for k, v in two.state_dict().items()
    }:
        state = two.state_dict()
        shapes = one.state_dict()
        # Where each slot has norms of its own, the first slot's come first.
        one.load_state_dict(
            {k: v[tuple(map(slice, shapes[k].shape))] if v.ndim else v for k, v in state.items()}
        )
    else:
        one.load_state_dict(two.state_dict())
    x, _ = some_clips(persons=1)
    alone = torch.tensor([[True, False]]).expand(len(x), 2)
    padded = torch.cat((x, torch.zeros_like(x)), dim=4)
    for training in (False, True):
        _close(two.train(training)(padded, alone).pooled, one.train(training)(x).pooled)


@every_backbone
@pytest.mark.parametrize("training", [False, True])
def test_without_present_every_slot_is_a_person(name: str, training: bool) -> None:
    x, _ = some_clips()
    everyone = torch.ones(len(x), 2, dtype=torch.bool)
    first, second = (small_backbone(name).train(training) for _ in range(2))
    _close(first(x).pooled, second(x, everyone).pooled)
    assert not torch.allclose(first.eval()(x).pooled, first(x, some_clips()[1]).pooled)


@every_backbone
def test_a_clip_without_anyone_is_finite(name: str) -> None:
    backbone = small_backbone(name)
    x, present = some_clips()
    present[0] = False
    for training in (True, False):
        pooled = backbone.train(training)(x, present).pooled
        assert pooled.isfinite().all()
        assert not pooled[0].any()


@every_backbone
def test_state_round_trip(name: str) -> None:
    first, second = small_backbone(name), small_backbone(name)
    x, present = some_clips()
    first.train()(x, present)  # moves the running statistics
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(first.eval()(x, present).pooled, second.eval()(x, present).pooled)


@every_backbone
def test_copies_and_pickles(name: str) -> None:
    backbone = small_backbone(name).eval()
    x, present = some_clips()
    expected = backbone(x, present).pooled
    for twin in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        assert torch.equal(twin(x, present).pooled, expected)


@every_backbone
def test_half_precision(name: str) -> None:
    backbone = small_backbone(name).train()
    x, present = some_clips()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = backbone(x, present).pooled
    rough.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())
    exact = small_backbone(name).train()(x, present).pooled
    assert (rough.float() - exact).abs().max() < 0.2 * exact.abs().max()


@every_backbone
def test_any_memory_order(name: str) -> None:
    """A loader hands over a view of memory that lies in another order."""
    backbone = small_backbone(name).eval()
    x, present = some_clips()
    strange = x.permute(0, 4, 2, 3, 1).contiguous().permute(0, 4, 2, 3, 1)
    assert strange.stride() != x.stride()
    _close(backbone(strange, present).pooled, backbone(x, present).pooled)


@every_backbone
def test_quirks_keep_names_and_shapes(name: str) -> None:
    """Weights of published runs load into either variant."""
    plain, original = small_backbone(name), small_backbone(name, original=True)
    assert _shapes(plain) == _shapes(original)


@every_backbone
@pytest.mark.parametrize("frames", [1, 13])
def test_frozen_it_answers_the_same(name: str, frames: int) -> None:
    backbone = small_backbone(name).train()
    x, present = some_clips(frames=frames)
    settle(backbone, backbone, x)
    frozen = backbone.freeze()
    assert not frozen.training
    assert backbone.training
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert frozen.out_channels == backbone.out_channels
    assert frozen.stage_channels == backbone.stage_channels
    assert frozen.stage_strides == backbone.stage_strides
    stages = tuple(backbone.stage_channels)
    backbone.eval()
    shared = plan_rows(present.numpy(), share_absent=True)
    for people in (None, present, shared):
        expected = backbone(x, people, stages=stages)
        found = frozen(x, people, stages=stages)
        for _ in range(2):  # what it remembers of the first time is right, too
            _rounded(frozen(x, people).pooled, expected.pooled)
        _rounded(found.pooled, expected.pooled)
        for stage in stages:
            _rounded(found.stages[stage], expected.stages[stage])
    with pytest.raises(RecipeError, match="unknown stage 'top'"):
        frozen(x, stages=("top",))


@every_backbone
@pytest.mark.slow
def test_exports(name: str) -> None:
    backbone = small_backbone(name).eval()
    x, _ = some_clips()
    with torch.no_grad():
        exported = torch.export.export(Pooled(backbone), (x,)).module()
        _close(exported(x), backbone(x).pooled)


class Pooled(torch.nn.Module):
    """A backbone that returns one tensor."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.backbone(x).pooled
        return pooled


def _shapes(backbone: Backbone) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in backbone.state_dict().items()}


def _rounded(found: Tensor, expected: Tensor) -> None:
    """Compare relative to the largest number."""
    largest = float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * largest)


def _close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
