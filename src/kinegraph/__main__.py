"""``python -m kinegraph`` is the same as ``kinegraph``."""

from __future__ import annotations

import sys

from kinegraph.cli import main

if __name__ == "__main__":
    sys.exit(main())
