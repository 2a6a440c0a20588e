"""From tokens to features: the network of a text encoder, and how its words are pooled."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

CLIP = "clip"  # its text half
FIRST, MEAN = "first", "mean"  # which words of other encoders stand for the text


class TextModel(nn.Module):
    """Turns tokens into features.

    CLIP models give their projected text embedding, others the mean of the last layer over words,
    or its first word.

    Args:
        model: A network of ``transformers``.
        pooling: `CLIP`, `FIRST` or `MEAN`.
        limit: The most tokens of a text that it can read.

    Attributes:
        width: D, numbers in a feature.
    """

    def __init__(self, model: nn.Module, pooling: str, limit: int) -> None:
        super().__init__()
        self.model, self.pooling, self.limit = model, pooling, limit
        config: Any = model.config
        self.width = int(config.projection_dim if pooling == CLIP else config.hidden_size)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens and mask (N, W), nonzero where there is a word -> (N, D), of any length."""
        if self.pooling == CLIP:
            # What fills up a text follows its end, where CLIP looks back from: no mask is needed.
            features: Tensor = self.model(input_ids=tokens).text_embeds
            return features
        states: Tensor = self.model(input_ids=tokens, attention_mask=mask).last_hidden_state
        if self.pooling == FIRST:
            return states[:, 0]
        there = mask[:, :, None].to(states.dtype)  # (N, W, 1)
        return (states * there).sum(1) / there.sum(1).clamp(min=1)

    def unfreeze(self) -> None:
        """Let all weights learn that have a part in the features."""
        self.requires_grad_(True)
        pooler = getattr(self.model, "pooler", None)
        if isinstance(pooler, nn.Module):  # of another task than features
            pooler.requires_grad_(False)
