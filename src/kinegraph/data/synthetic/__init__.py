"""A synthetic motion data set: people that do not exist, doing things we know the names of.

The embedded data of `kinegraph demo`, made in seconds and nobody's private life. Puppets of
different bodies perform scripted actions before a noisy depth camera (see docs/synthetic.md).
Reading order: body, puppet, timing, motions, interactions, sensor, dataset.
"""

from __future__ import annotations

from kinegraph.data.synthetic.dataset import CLASS_NAMES, make_synthetic

__all__ = ["CLASS_NAMES", "make_synthetic"]
