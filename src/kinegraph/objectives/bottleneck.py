"""InfoGCN's information bottleneck: a noisy latent whose class means are pulled to fixed places.

Source: Chi et al., InfoGCN (CVPR 2022), sections 3.1 and 3.2; the terms as the authors train them.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinegraph.backbones.base import Backbone
from kinegraph.batch import Batch
from kinegraph.kernels.norm_act_plain import Reduce
from kinegraph.nn.init import normal
from kinegraph.nn.persons import Rows, rows_of
from kinegraph.nn.shared import sum_over_processes
from kinegraph.objectives.base import Objective
from kinegraph.objectives.classify import score

LARGEST_DEVIATION = 100.0


class Bottleneck(Objective):
    """Cross-entropy on a latent drawn around a mean, and two terms that shape its distribution.

    The conditional term is the mean squared distance of each class's mean latent from the class's
    place; the marginal term is the length of the mean latent. Places are orthogonal, as far as
    there are no more classes than dimensions.

    Differs from the original: the places are saved with the weights, class means are those of the
    whole batch also where several processes share it, and nothing waits for the device.

    Args:
        backbone: The network.
        num_classes: Number of classes.
        noise: Factor of the log-variance in the exponent of the deviation.
        gain: Length of the places.
        conditional: Weight of the conditional term (lambda 2).
        marginal: Weight of the marginal term (lambda 1).
        label_smoothing: Share of the target that is spread over all classes.
        dropout: On the feature from which mean and variance are made.
        count_absent: Absent people are averaged in like present ones, as the original does.

    Attributes:
        prior: (K, F) buffer, the places.
        reduce: Sums a tensor over all processes that share a batch; None where there is one.
    """

    prior: Tensor
    reduce: Reduce | None = None

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        noise: float = 0.5,
        gain: float = 3.0,
        conditional: float = 0.1,
        marginal: float = 1e-4,
        label_smoothing: float = 0.1,
        dropout: float = 0.0,
        count_absent: bool = False,
    ) -> None:
        super().__init__()
        width = backbone.out_channels
        self.backbone = backbone
        self.hidden = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.mean = nn.Linear(width, width)
        self.log_variance = nn.Linear(width, width)
        self.head = nn.Linear(width, num_classes)
        for layer in (self.hidden, self.mean, self.log_variance):
            nn.init.xavier_uniform_(layer.weight, nn.init.calculate_gain("relu"))
        normal(self.head.weight, math.sqrt(2 / num_classes))
        prior = nn.init.orthogonal_(torch.empty(num_classes, width), gain)
        self.register_buffer("prior", prior)
        self.noise, self.label_smoothing = noise, label_smoothing
        self.conditional, self.marginal = conditional, marginal
        self.count_absent = count_absent

    def forward(self, *batches: Batch) -> dict[str, Tensor]:
        """Return ``loss``, its three parts, and what they are watched by.

        ``cosine`` and ``distance`` are means over the pairs of classes in the batch, of the angle
        between their mean latents and of how far those are apart.
        """
        (batch,) = batches
        mean, log_variance = self.latent(batch.x, batch.people)
        latent = self.draw(mean, log_variance) if self.training else mean
        logits = self.head(latent)
        scored = score(logits, batch.label, self.label_smoothing)
        terms = self.terms(latent, batch.label)
        loss = (
            scored["loss"]
            + self.conditional * terms["conditional"]
            + self.marginal * terms["marginal"]
        )
        accuracy = scored["accuracy"]
        return {"loss": loss, "classification": scored["loss"], **terms, "accuracy": accuracy}

    def latent(self, x: Tensor, present: Tensor | Rows | None = None) -> tuple[Tensor, Tensor]:
        """(N, C, T, V, M) -> mean and log-variance of the latent, each (N, F)."""
        rows = rows_of(x, present, count_absent=self.count_absent)
        pooled = self.backbone(x, rows).pooled
        hidden = self.dropout(torch.relu(self.hidden(pooled)))
        return self.mean(hidden), self.log_variance(hidden)

    def draw(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Draw a latent around each mean (equation 4)."""
        # Bounded before the exponential: an infinite one would turn its gradient into NaN.
        exponent = (self.noise * log_variance).clamp(max=math.log(LARGEST_DEVIATION))
        deviation = exponent.exp()
        return mean + deviation * torch.randn_like(deviation)

    def terms(self, latent: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Return the conditional and marginal terms of latents (N, F), and what to watch."""
        latent = latent.to(torch.promote_types(latent.dtype, torch.float32))
        belongs = functional.one_hot(label, len(self.prior)).to(latent.dtype)  # (N, K)
        with torch.autocast(latent.device.type, enabled=False):
            sums = torch.cat((belongs.T @ latent, belongs.sum(0)[:, None]), dim=1)
        sums = sum_over_processes(sums, self.reduce)  # (K, F + 1)
        totals, counts = sums[:, :-1], sums[:, -1].detach()
        means = totals / counts.clamp(min=1)[:, None]  # (K, F)
        there = (counts > 0).to(latent.dtype)  # (K,)
        squares = (means - self.prior).square().mean(1)
        marginal = totals.sum(0) / counts.sum().clamp(min=1)
        return {
            "conditional": (squares * there).sum() / there.sum().clamp(min=1),
            "marginal": marginal.norm(),
            **self._watch(means.detach(), there),
        }

    @staticmethod
    def _watch(means: Tensor, there: Tensor) -> dict[str, Tensor]:
        """Return mean cosine and mean distance of the pairs of classes that are there."""
        pairs = there[:, None] * there
        pairs = pairs - torch.diag_embed(there)  # (K, K)
        count = pairs.sum().clamp(min=1)
        units = functional.normalize(means, dim=1)
        distance = (means[:, None] - means).norm(dim=2)
        return {
            "cosine": (units @ units.T * pairs).sum() / count,
            "distance": (distance * pairs).sum() / count,
        }

    def logits(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        """(N, C, T, V, M) -> (N, classes), of the mean latent."""
        return self.head(self.embed(x, present))  # type: ignore[no-any-return]

    def embed(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        """(N, C, T, V, M) -> (N, F), the mean latent."""
        mean, _ = self.latent(x, present)
        return mean

    def freeze(self) -> Bottleneck:
        """Return a copy for inference alone whose backbone is frozen, see `Objective.freeze`."""
        twin = copy.deepcopy(self)
        twin.backbone = self.backbone.freeze()
        return twin.eval().requires_grad_(False)
