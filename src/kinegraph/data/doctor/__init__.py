"""The doctor: what is odd about recordings, and what to do about it.

``kinegraph data check`` shows what it finds. Reading order: findings, anatomy, body, case, then the
groups of checks (frames, geometry, order, sameness, balance), examination, page.
"""

from __future__ import annotations

from kinegraph.data.doctor.examination import (
    CHECKS,
    Diagnosis,
    examine_recordings,
    examine_store,
)
from kinegraph.data.doctor.findings import KINDS, Finding

__all__ = ["CHECKS", "KINDS", "Diagnosis", "Finding", "examine_recordings", "examine_store"]
