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

MAX_TEXT_BYTES = 1 << 26
"""One recording as text (NTU, PKU-MMD, SBU). The longest continuous one that is known has 10 MB."""

MAX_JSON_BYTES = 1 << 24
"""One recording of Kinetics; 300 frames of 20 people need 3 MB, and JSON takes ten times its size
in memory."""

MAX_FRAMES = 10_000
"""Frames of a recording that says where each frame stands, as in Kinetics: a clip has 300."""

MAX_LABEL_BYTES = 1 << 26
"""A label file; the largest one, of Kinetics, has 30 MB."""

MAX_SPLIT_BYTES = 1 << 22
"""A list of recordings that train or test; all names of PKU-MMD need 20 kB."""

MAX_CLASSES = 10_000
"""Classes of a data set; a larger label is no class. Each class gets a name."""

MAX_CLIPS = 1 << 22
"""Clips of an array file: each gets a name in memory. The largest known set has 306,245."""

MAX_PICKLE_BYTES = 1 << 34
"""A pickle of annotations; it is read whole. The largest published one has about 3 GB."""

MAX_LEVELS = 4
"""Lists in lists of an annotation's joints: people, frames, joints, numbers."""

MAX_NUMBERS = 1 << 22
"""Numbers of one annotation in lists: a few bytes of a pickle can name one list thousands of times.
Ten minutes of two people take 3 million."""

MAX_PIXELS = 1 << 20
"""A side of a picture."""

MAX_MAT_BYTES = 1 << 26
"""One MATLAB file; real ones have 30 kB."""

MAT_MEMORY = 1 << 28
"""Bytes that reading one MATLAB file may take; real ones need less than 1 MB."""

MAT_SECONDS = 10.0
"""Seconds that reading one MATLAB file may take; real ones take a few thousandths."""
