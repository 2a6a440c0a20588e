"""Text features for the objective `language`: read from a table, or made in every step.

Source: Xiang et al., Generative Action Description Prompts for Skeleton-based Action Recognition
(ICCV 2023), section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kinegraph.text.description import Descriptions
from kinegraph.text.encoder import TextEncoder
from kinegraph.text.table import PARTS, TextTable


class Texts(nn.Module):
    """The texts of K classes: each has one or more names, and a prompt about each of `PARTS`.

    Args:
        classes: The names of the classes.
        counts: (K,), how many names each class has.
        kept: Whether what is known of the texts is among the weights.

    Attributes:
        classes: As given.
        widths: (D, E), numbers in the feature of a name and of a prompt.
        counts: (K,) buffer, how many names a class has.
        first: (K,) buffer, where they begin.
    """

    widths: tuple[int, int]
    counts: Tensor
    first: Tensor

    def __init__(self, classes: Sequence[str], counts: Tensor, *, kept: bool) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.register_buffer("counts", counts, persistent=kept)
        self.register_buffer("first", counts.cumsum(0) - counts, persistent=kept)

    def forward(self, label: Tensor) -> list[Tensor]:
        """Return the five text features of labels (N,): of a name of the class, and of `PARTS`.

        While training, the name is drawn from the class's names for each clip anew; otherwise it
        is the first.
        """
        row = self.first[label]
        if self.training:
            count = self.counts[label]
            draw = torch.rand(len(label), device=label.device)
            row = row + torch.minimum((draw * count).long(), count - 1)
        return [self.of_names(row), *self.of_prompts(label).unbind(0)]

    def of_names(self, row: Tensor) -> Tensor:
        """Return features (N, D) of names, numbered (N,) through all classes."""
        raise TypeError("Texts is a base class")

    def of_prompts(self, label: Tensor) -> Tensor:
        """Return features (4, N, E) of the prompts of classes (N,)."""
        raise TypeError("Texts is a base class")


class TableTexts(Texts):
    """Features of a table, which stay as they are.

    Args:
        table: Text features.

    Attributes:
        names: (S, D) buffer, features of all names of all classes.
        prompts: (4, K, E) buffer, features of the prompts about `PARTS`.
    """

    names: Tensor
    prompts: Tensor

    def __init__(self, table: TextTable) -> None:
        # Not among the weights: the recipe names the table.
        super().__init__(table.classes, torch.from_numpy(table.counts), kept=False)
        self.widths = table.names.shape[1], table.parts.shape[2]
        self.register_buffer("names", torch.from_numpy(table.names).float(), persistent=False)
        self.register_buffer("prompts", torch.from_numpy(table.parts).float(), persistent=False)

    def of_names(self, row: Tensor) -> Tensor:
        """Return features (N, D) of names, numbered (N,) through all classes."""
        return self.names[row]

    def of_prompts(self, label: Tensor) -> Tensor:
        """Return features (4, N, E) of the prompts of classes (N,)."""
        return self.prompts[:, label]


class TrainedTexts(Texts):
    """Features that a text encoder makes in every step, which learns with the network.

    In each step, either all names go through the encoder or those of the clips, whichever are
    fewer, and the same for prompts: two tensors whose shapes depend on the number of clips alone.
    To encode only what differs would be less in small batches, but the host would have to wait for
    how much that is. Values and gradients are the same, since no text sees another one.

    Differs from the original: dropout of the encoder is off (CLIP has none), texts are encoded
    once and not for each clip, in the length of the longest text and not in 77 tokens.

    Args:
        encoder: Is taken apart: its network is trained from now on.
        descriptions: The texts.

    Attributes:
        model: Tokens -> features.
        names, names_mask: (S, W) buffers, the tokens of all names of all classes.
        prompts, prompts_mask: (4 * K, W) buffers, those of the prompts, all classes about the first
            of `PARTS` first.
    """

    names: Tensor
    names_mask: Tensor
    prompts: Tensor
    prompts_mask: Tensor

    def __init__(self, encoder: TextEncoder, descriptions: Descriptions) -> None:
        # Among the weights, tokens too: a run that is resumed goes on with what it began with.
        counts = torch.tensor([len(one.names) for one in descriptions])
        super().__init__([one.name for one in descriptions], counts, kept=True)
        names = [name for one in descriptions for name in one.names]
        by_part = zip(*(one.prompts() for one in descriptions), strict=True)
        prompts = [prompt for part in by_part for prompt in part]
        encoder.warn_of_long([*names, *prompts])
        for kind, texts in (("names", names), ("prompts", prompts)):
            tokens, mask = encoder.tokenise(texts)
            self.register_buffer(kind, tokens)
            self.register_buffer(f"{kind}_mask", mask)
        self.model = encoder.model
        self.model.unfreeze()
        self.widths = self.model.width, self.model.width

    def train(self, mode: bool = True) -> TrainedTexts:
        """Draw names from now on, or do not; the encoder's dropout stays off."""
        super().train(mode)
        self.model.eval()
        return self

    def of_names(self, row: Tensor) -> Tensor:
        """Return features (N, D) of names, numbered (N,) through all classes."""
        return self._encode(self.names, self.names_mask, row)

    def of_prompts(self, label: Tensor) -> Tensor:
        """Return features (4, N, E) of the prompts of classes (N,)."""
        part = torch.arange(len(PARTS), device=label.device)[:, None]
        wanted = (part * len(self.classes) + label).flatten()  # (4 * N,)
        found = self._encode(self.prompts, self.prompts_mask, wanted)
        return found.view(len(PARTS), len(label), self.widths[1])

    def _encode(self, tokens: Tensor, mask: Tensor, wanted: Tensor) -> Tensor:
        """Return the features of the wanted rows; none still have gradients, of zero."""
        if 0 < len(wanted) < len(tokens):
            fewer: Tensor = self.model(tokens[wanted], mask[wanted])
            return fewer
        features: Tensor = self.model(tokens, mask)
        return features[wanted]
