"""Which lines of a module were run: a counter on `sys.settrace` that ends where nothing is new.

A function whose lines have all been seen is not traced again, so that a long run costs little.
Lines are those inside functions; importing a module runs the others anyway.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

Key = tuple[str, int]  # file and first line of a function


class LineCounter:
    """Counts lines of some modules while it is entered as a context.

    Attributes:
        entered: Functions that were called since it was last cleared, as ``module:name``.
        fresh: Whether a line was seen for the first time since it was last set to False.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self.entered: set[str] = set()
        self.fresh = False
        self._lines: dict[str, set[int]] = {}
        self._ran: dict[str, set[int]] = {}
        self._missing: dict[Key, set[int]] = {}  # of each function: what is still waited for
        self._names: dict[Key, str] = {}
        for module in dict.fromkeys(modules):
            self._add(module)
        self._files = {file for file, _ in self._missing}

    def _add(self, module: str) -> None:
        spec = importlib.util.find_spec(module)
        assert spec is not None, module
        assert spec.origin is not None, module
        whole = compile(Path(spec.origin).read_text(encoding="utf-8"), spec.origin, "exec")
        self._lines[module], self._ran[module] = set(), set()
        for code in _functions(whole):
            key = (code.co_filename, code.co_firstlineno)
            lines = {line for *_, line in code.co_lines() if line and line != code.co_firstlineno}
            self._missing.setdefault(key, set()).update(lines)
            self._names[key] = f"{module}:{code.co_qualname.replace('<locals>.', '')}"
            self._lines[module] |= lines

    def __enter__(self) -> LineCounter:
        sys.settrace(self._called)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.settrace(None)

    def knows(self, function: str) -> bool:
        """Whether ``module:name`` is a function of the modules."""
        return function in self._names.values()

    def shares(self) -> dict[str, tuple[int, int]]:
        """Return how many lines of each module were run, and how many there are."""
        return {
            module: (len(self._ran[module]), len(lines)) for module, lines in self._lines.items()
        }

    def missing(self) -> dict[str, list[int]]:
        """Return the lines of each module that never ran."""
        return {module: sorted(self._lines[module] - ran) for module, ran in self._ran.items()}

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if code.co_filename not in self._files:
            return None
        key = (code.co_filename, code.co_firstlineno)
        missing = self._missing.get(key)
        if missing is None:
            return None
        self.entered.add(self._names[key])
        if not missing:
            return None
        ran = self._ran[self._names[key].partition(":")[0]]

        def run(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "line" and frame.f_lineno in missing:
                missing.discard(frame.f_lineno)
                self.fresh |= frame.f_lineno not in ran
                ran.add(frame.f_lineno)
            return run

        return run


def _functions(code: CodeType) -> Iterable[CodeType]:
    """Yield the functions of a module, methods and inner ones too, but no bodies of classes."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 0x2:  # CO_NEWLOCALS: a function or a comprehension
                yield constant
            yield from _functions(constant)
