"""Weights of the original programs in our networks, and ours in theirs. Dicts in, dicts out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinegraph.compat.original import load_original

__all__ = ["load_original"]


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is asked for."""
    if name in __all__:
        from kinegraph.compat import original

        return getattr(original, name)
    raise AttributeError(f"module 'kinegraph.compat' has no attribute '{name}'")
