"""One batch norm for every network: weighted, over several processes, fused with what follows it.

A network's rows may stand for several people or for none (`persons.Rows`), and a batch may be
spread over several processes; the statistics are those of all people of the whole batch.
"""

from __future__ import annotations

from torch import Tensor, nn

from kinegraph.kernels.norm_act import Norm, Running, norm_act
from kinegraph.kernels.norm_act_plain import Reduce
from kinegraph.nn.persons import Rows


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over axis 1 of a tensor of any rank, then an addition and a ReLU if wanted.

    Parameters and buffers have the names of ``torch.nn.BatchNorm1d``. With weights, mean and
    variance of a training batch are weighted ones, so that an absent person (weight 0) has no
    part in them and one row can stand for several (weight 2, 3, ...).

    Attributes:
        reduce: Sums a vector over all processes that share a batch; None where there is one.
    """

    reduce: Reduce | None = None

    def forward(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        *,
        residual: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        """Return ``relu(norm(x) + residual)``.

        Args:
            x: (R, C, ...).
            weight: (R,) or (R, C), how many people a row (of a channel) stands for; None for one.
                Of no effect in eval mode.
            residual: In the shape of ``x``.
            relu: Whether negative results become zero.
        """
        return norm_act(x, self.settings(weight), residual=residual, relu=relu)

    def settings(self, weight: Tensor | None = None) -> Norm:
        """Return what functions that do this norm among other things need to know of it."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        return Norm(
            scale=self.weight,
            shift=self.bias,
            running=Running(
                self.running_mean, self.running_var, self.num_batches_tracked, self.momentum
            ),
            training=self.training,
            epsilon=self.eps,
            weight=weight,
            reduce=self.reduce,
        )


def normalise_clips(norm: BatchNorm, x: Tensor, rows: Rows) -> Tensor:
    """Normalise every coordinate of every joint and slot over clips and frames.

    Args:
        norm: Of M * V * C channels.
        x: (N, C, T, V, M).
        rows: Say which slots are people; others have no part in the statistics.

    Returns:
        (N, C, T, V, M).
    """
    clips, channels, frames, joints, persons = x.shape
    flat = x.permute(0, 4, 3, 1, 2).reshape(clips, persons * joints * channels, frames)
    weight = None
    if rows.counted is not None:  # (N, M) -> (N, M*V*C)
        weight = rows.counted.to(x.dtype).repeat_interleave(joints * channels, dim=1)
    elif norm.reduce is not None and persons > 1:
        # All are here, but not in every process: each slot has a number of people of its own.
        weight = x.new_ones(clips, persons * joints * channels)
    normalised: Tensor = norm(flat, weight)
    return normalised.view(clips, persons, joints, channels, frames).permute(0, 3, 4, 2, 1)
