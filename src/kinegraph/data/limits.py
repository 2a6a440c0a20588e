"""How large the files of a source may be: every limit in one place, with its reason.

A file from elsewhere may declare anything. Readers compare what it declares with the bytes that
are there; where a small file can really hold something large (compressed data), these limits hold.
None of them is met by a known data set.
"""

from __future__ import annotations

MAX_MEMBER_BYTES = 1 << 28
"""One recording in a file of its own; it is read whole. The longest known one has 30 MB."""

MAX_RATIO = 100
"""How many times larger than its archive unpacked text may be. Real recordings reach 10."""

MAX_ARRAY_RATIO = 500
"""The same for one array of an archive. Padding is zeros, and deflate reaches 1,032 on zeros."""

ALWAYS_BYTES = 1 << 24
"""Arrays up to here may have any ratio: a million equal labels are 8 MB that pack to 8 kB."""

MAX_COLUMN_BYTES = 1 << 30
"""Labels, names and the like of one file: a million names of 200 characters take 0.8 GB."""

MAX_CLIP_BYTES = 1 << 31
"""One clip of an array file; half an hour of two people at 30 frames a second takes 32 MB."""
