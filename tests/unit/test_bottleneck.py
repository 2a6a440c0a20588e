"""The noisy latent of InfoGCN where its variance runs away."""

from __future__ import annotations

import pytest
import torch

from kinegraph.backbones import InfoGCNConfig, build_backbone
from kinegraph.objectives.bottleneck import LARGEST_DEVIATION, Bottleneck
from kinegraph.skeleton import load_layout


@pytest.fixture
def objective() -> Bottleneck:
    backbone = build_backbone(InfoGCNConfig(width=8), load_layout("ucla20"), persons=1)
    return Bottleneck(backbone, 5, noise=0.5)


def test_deviation_is_bounded_and_its_gradient_stays_finite(objective: Bottleneck) -> None:
    """A bound after the exponential has the gradient 0 * infinity, which ends a training run."""
    log_variance = torch.tensor([[-2.0, 0.0, 4.0, 20.0, 1000.0]], requires_grad=True)
    torch.manual_seed(0)
    latent = objective.draw(torch.zeros(1, 5), log_variance)
    torch.manual_seed(0)
    noise = torch.randn(1, 5)
    deviation = torch.tensor([0.5 * -2.0, 0.0, 2.0]).exp()
    expected = torch.cat((deviation, torch.full((2,), LARGEST_DEVIATION)))
    torch.testing.assert_close(latent.detach(), noise * expected)
    (gradient,) = torch.autograd.grad(latent.sum(), log_variance)
    torch.testing.assert_close(gradient[0, :3], 0.5 * noise[0, :3] * deviation)
    assert torch.equal(gradient[0, 3:], torch.zeros(2))
