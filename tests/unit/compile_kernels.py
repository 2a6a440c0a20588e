"""Compiles kernels for NVIDIA devices that need not be there, and says what they take.

Reads a list of requests from the standard input and writes a list of answers, both JSON. A process
of its own, because a process that interprets kernels cannot compile them.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


def resources(binary: bytes) -> dict[str, int]:
    """Registers and bytes of stack (what does not fit in registers) of each thread."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    assert found is not None, text
    return {"registers": int(found[1]), "stack": int(found[2])}


def compiled(request: dict[str, Any]) -> dict[str, int]:
    """Compile one kernel; arguments that are not listed are 32-bit integers."""
    kernel = getattr(importlib.import_module(request["module"]), request["kernel"])
    constants = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in request["constants"].items()
    }
    types = {name: "constexpr" for name in constants} | request["types"]
    signature = {name: types.get(name, "i32") for name in kernel.arg_names}
    aligned = {
        (position,): [["tt.divisibility", 16]]
        for position, (name, kind) in enumerate(signature.items())
        if kind.startswith("*") or name in request["aligned"]
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    target = GPUTarget("cuda", request["capability"], 32)
    result = triton.compile(source, target=target, options=request["options"])
    return resources(result.asm["cubin"]) | {"shared": result.metadata.shared}


if __name__ == "__main__":
    json.dump([compiled(request) for request in json.load(sys.stdin)], sys.stdout)
