"""LST: features of the body and of its parts are pulled to texts about the action.

Source: Xiang et al., Generative Action Description Prompts for Skeleton-based Action Recognition
(ICCV 2023; first called Language Supervised Training, LST), sections 3.2 and 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinegraph.backbones.base import Backbone
from kinegraph.batch import Batch
from kinegraph.data.loader import ALL, Share
from kinegraph.errors import RecipeError
from kinegraph.kernels.norm_act_plain import Reduce
from kinegraph.nn.init import normal
from kinegraph.nn.persons import Rows, rows_of
from kinegraph.nn.shared import gather_over_processes
from kinegraph.objectives.classify import Classify, score
from kinegraph.objectives.language_parts import PartLists
from kinegraph.objectives.language_texts import Texts
from kinegraph.text.table import PARTS

FINAL = "final"  # the stage that part features are taken from
SHARPNESS = 10.0  # of the soft targets
START = math.log(1 / 0.07)


class LanguageHeads(nn.Module):
    """What only training needs: linear maps to the texts' space, scales, and the texts.

    Args:
        channels: Of the pooled feature, and of the map that part features come from.
        texts: The texts.
        joints: For each of `PARTS`, which joints it has.
        joint_count: V.

    Attributes:
        whole: Feature -> (N, D).
        parts: The same for each of `PARTS`, to (N, E).
        scale: (1, 5), by what cosines are multiplied: of the whole, then of `PARTS`.
        texts: Labels -> five text features.
        membership: (V, 4) buffer, the share of a joint in the mean of a part.
    """

    membership: Tensor

    def __init__(
        self, channels: tuple[int, int], texts: Texts, joints: PartLists, joint_count: int
    ) -> None:
        super().__init__()
        width, part_width = texts.widths
        self.whole = nn.Linear(channels[0], width)
        normal(self.whole.weight, math.sqrt(2 / width))
        nn.init.zeros_(self.whole.bias)
        self.parts = nn.ModuleDict({part: nn.Linear(channels[1], part_width) for part in PARTS})
        self.scale = nn.Parameter(torch.full((1, 1 + len(PARTS)), START))
        self.texts = texts
        membership = torch.zeros(joint_count, len(PARTS))
        for place, part in enumerate(PARTS):
            membership[list(joints[part]), place] = 1 / len(joints[part])
        self.register_buffer("membership", membership, persistent=False)

    def features(self, pooled: Tensor, final: Tensor, people: Tensor | int) -> list[Tensor]:
        """Return the five features of clips: of the whole body, and of `PARTS`.

        Args:
            pooled: (N, F).
            final: (N, M, C, T, V), zero for people that do not count.
            people: (N, 1), how many people of a clip count, or one number for all.
        """
        # (N, M, C, T, V) -> (N, M, C, V) -> (N, C, V) -> (N, C, 4)
        joints = final.mean(3).sum(1).to(self.membership.dtype)
        with torch.autocast(joints.device.type, enabled=False):
            means = joints @ self.membership
        by_part = [mean / people for mean in means.unbind(2)]
        heads = (self.parts[part] for part in PARTS)
        return [
            self.whole(pooled),
            *(head(mean) for head, mean in zip(heads, by_part, strict=True)),
        ]


class Language(Classify):
    """Cross-entropy, and contrast of five features of each clip with texts about its class.

    In every batch, the similarities of clips and texts are to say which of them are of one class,
    seen from the clips and seen from the texts. Scales multiply cosines as they are.

    Differs from the original: text features come from a table, where no encoder is trained; texts
    of the whole batch are compared also where several processes share it; part features leave
    absent people out, unless ``count_absent``; part features are of any width.

    Args:
        backbone: The network.
        num_classes: Number of classes.
        texts: The texts; of more classes than there are, the first ones.
        joints: The joints of the parts.
        joint_count: V.
        weight: Of the contrast (alpha).
        label_smoothing: Share of the target that is spread over all classes.
        dropout: On the pooled feature, before the head.
        count_absent: Absent people are averaged in like present ones, as the original does.

    Raises:
        RecipeError: The texts are about fewer classes, or the backbone mixes its joints.

    Attributes:
        reduce: Sums a tensor over all processes that share a batch; None where there is one.
        share: Which part of a batch this process has.
    """

    training_only = ("language.texts.",)
    reduce: Reduce | None = None
    share: Share = ALL

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        texts: Texts,
        joints: PartLists,
        joint_count: int,
        weight: float = 0.8,
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
        count_absent: bool = False,
    ) -> None:
        if len(texts.classes) < num_classes:
            raise RecipeError(
                f"objective.texts are about {len(texts.classes)} classes, the data have"
                f" {num_classes}: name another table, or make one with: kinegraph text"
            )
        super().__init__(
            backbone,
            num_classes,
            label_smoothing=label_smoothing,
            dropout=dropout,
            count_absent=count_absent,
        )
        self.weight = weight
        self.classes = texts.classes[:num_classes]
        if FINAL not in backbone.stage_channels:
            raise RecipeError(
                "objective language compares texts with parts of the body, but this backbone mixes"
                " its joints: choose one that keeps the joints apart"
            )
        channels = (backbone.out_channels, backbone.stage_channels[FINAL])
        self.language = LanguageHeads(channels, texts, joints, joint_count)

    def check_classes(self, names: Sequence[str]) -> None:
        """Raise RecipeError unless the texts are about classes of these names, in this order.

        Names that say nothing, such as ``class 3`` or ``A012``, are not compared.
        """
        for number, (name, text) in enumerate(zip(names, self.classes, strict=True)):
            if not _is_number(name) and _letters(name) != _letters(text):
                raise RecipeError(
                    f"objective.texts describe class {number} as '{text}', but the store calls it"
                    f" '{name}': name the table of this data set, or make one with: kinegraph text"
                )

    def forward(self, *batches: Batch) -> dict[str, Tensor]:
        """Return ``loss``, its parts ``classification`` and ``text``, and ``accuracy``."""
        (batch,) = batches
        logits, features = self.describe(batch.x, batch.people)
        scored = score(logits, batch.label, self.label_smoothing)
        terms = self.contrast(features, self.language.texts(batch.label), batch.label, batch.whole)
        text = terms.mean()
        return {
            "loss": scored["loss"] + self.weight * text,
            "classification": scored["loss"],
            "text": text,
            "accuracy": scored["accuracy"],
        }

    def describe(
        self, x: Tensor, present: Tensor | Rows | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """(N, C, T, V, M) -> logits (N, K) and the five features that texts are compared with."""
        rows = rows_of(x, present, count_absent=self.count_absent)
        found = self.backbone(x, rows, stages=(FINAL,))
        people: Tensor | int = rows.persons
        if rows.counted is not None:
            people = rows.counted.sum(1, keepdim=True).clamp(min=1)
        features = self.language.features(found.pooled, found.stages[FINAL], people)
        return self.head(self.dropout(found.pooled)), features

    def contrast(
        self,
        features: Sequence[Tensor],
        texts: Sequence[Tensor],
        label: Tensor,
        whole: int | None = None,
    ) -> Tensor:
        """Return the five contrast terms (5,): divergence of similarities from who belongs to whom.

        Args:
            features: Five features of clips, each (n, D) or (n, E).
            texts: Five of texts, likewise.
            label: (n,) classes.
            whole: B, clips of the whole batch, of which these are the part of this process.
        """
        place = self.share.of(len(label) if whole is None else whole)
        whole = len(label) if whole is None else whole

        def gather(values: Tensor) -> Tensor:
            return gather_over_processes(values, self.reduce, place.start, whole)

        target = soft_target(label, gather(label))  # (n, B)
        terms = []
        with torch.autocast(label.device.type, enabled=False):
            for scale, feature, text in zip(self.language.scale[0], features, texts, strict=True):
                clips, words = unit(feature), unit(text)
                from_clips = divergence(target, scale * clips @ gather(words).T)
                from_texts = divergence(target, scale * words @ gather(clips).T)
                terms.append((from_clips + from_texts) / 2)
        return torch.stack(terms)

    def bare(self) -> Classify:
        """Return what tests need, sharing its weights: the backbone and the head, no texts."""
        bare = Classify(
            self.backbone,
            self.head.out_features,
            label_smoothing=self.label_smoothing,
            dropout=self.dropout.p,
            count_absent=self.count_absent,
        )
        bare.head = self.head
        return bare.train(self.training)

    def freeze(self) -> Classify:
        """Return a copy for inference alone, without anything about texts."""
        return self.bare().freeze()


def unit(vectors: Tensor) -> Tensor:
    """Return vectors (N, D) of length 1, in at least float32."""
    precise = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    return functional.normalize(precise, dim=1)


def soft_target(label: Tensor, others: Tensor) -> Tensor:
    """Return (n, B): a softmax over who is of the same class, the same for all who are."""
    same = (label[:, None] == others).float()
    return (SHARPNESS * same).softmax(1)


def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Return the mean over rows of the divergence of softmax(logits) from the target, (n, B)."""
    rows = (target * (target.log() - logits.log_softmax(1))).sum(1)
    return rows.mean()


def _is_number(name: str) -> bool:
    """Whether a class has no name of its own: at most one word with digits behind it."""
    return name.rstrip("0123456789") != name and len(name.split()) <= 2


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
