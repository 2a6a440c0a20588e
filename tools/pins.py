"""Write and check the pinned environment: ``constraints.txt`` and ``constraints-cuda.txt``.

``python tools/pins.py write`` resolves pyproject.toml for every platform with uv;
``python tools/pins.py check`` reads the files and says what is wrong with them. Why there are
two files, and why they are installed with ``--no-deps``: docs/adr/0001-pinned-environment.md.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
MAIN = "constraints.txt"
CUDA = "constraints-cuda.txt"
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"))
PLATFORMS += (("darwin", "Darwin", "arm64"),)
PLACES = tuple((python, platform) for python in PYTHONS for platform in PLATFORMS)

# One torch for everybody: an unpinned one brings gigabytes of another build with every release.
TORCH = "2.13.0"
# The CPU builds of that torch which are not on the package index but which a machine may offer
# through pip's find-links. pip prefers them to the index's build, and checks them against these.
CPU_BUILDS = ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)  # cp311 x86_64

# What only the CUDA build of torch asks for. The CPU build runs without.
CUDA_NAMES = re.compile(r"(nvidia|cuda)-.*|triton")
# torchvision beside another torch breaks the imports of third packages; the rest is in its train,
# or may not be used under our licence.
FORBIDDEN = frozenset(
    {"torchvision", "torchaudio", "mmcv", "mmcv-full", "apex", "torchlight", "ultralytics"}
    | {"boxmot"}
)

HEADER = {
    MAIN: """\
# The environment of kinegraph, pinned with hashes for Python 3.11-3.13 on Linux and macOS.
# Written by `make pins`; installed by `make setup`, which is
#     pip install --no-deps -r constraints.txt
# On Linux the index's torch also needs constraints-cuda.txt; the CPU build of torch does not.
--only-binary :all:
""",
    CUDA: """\
# What the CUDA build of the pinned torch needs on Linux, pinned with hashes.
# Written by `make pins`; `make setup` installs it where that build of torch was installed.
--only-binary :all:
""",
}


@dataclass(frozen=True)
class Pin:
    """One pinned package: its requirement, its sha256 digests and who asked for it."""

    requirement: Requirement
    hashes: tuple[str, ...]
    asked_by: str = ""

    @property
    def name(self) -> str:
        """The package's normalised name."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str | None:
        """The version, or None where the pin is not one exact version."""
        found = re.fullmatch(r"==([^*,]+)", str(self.requirement.specifier))
        return found.group(1) if found else None

    def applies(self, python: str, platform: tuple[str, str, str]) -> bool:
        """Tell whether the pin is installed with one Python on one platform."""
        if self.requirement.marker is None:
            return True
        system, name, machine = platform
        place = {"python_version": python, "python_full_version": f"{python}.5"}
        place |= {"sys_platform": system, "platform_system": name, "platform_machine": machine}
        return self.requirement.marker.evaluate(place)

    def text(self) -> str:
        """The lines of the file that state this pin."""
        lines = [str(self.requirement).replace(";", " ;")]
        lines += [f"--hash=sha256:{digest}" for digest in self.hashes]
        comment = f"\n    # via {self.asked_by}" if self.asked_by else ""
        return " \\\n    ".join(lines) + comment + "\n"


def read_pins(text: str) -> list[Pin]:
    """Read the pins of a requirements file; options and own comments are passed over."""
    joined = text.replace("\\\n", " ")
    pins: list[Pin] = []
    for line in joined.splitlines():
        asked = re.fullmatch(r"\s+# via (.+)", line)
        if asked and pins:
            askers = [who for who in asked.group(1).split(", ") if not who.startswith("-c ")]
            pins[-1] = replace(pins[-1], asked_by=", ".join(askers))
        elif line.strip() and not line.lstrip().startswith(("#", "-")):
            requirement, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
            pins.append(Pin(Requirement(requirement), tuple(sorted(h.strip() for h in hashes))))
    return pins


def wanted(pyproject: str) -> list[Requirement]:
    """The direct requirements that pyproject.toml states: library, extras and build."""
    table = tomllib.loads(pyproject)
    extras = table["project"].get("optional-dependencies", {}).values()
    lines = [*table["project"]["dependencies"], *table["build-system"]["requires"]]
    return [Requirement(line) for line in [*lines, *(line for extra in extras for line in extra)]]


def _unmet(wish: Requirement, pins: list[Pin]) -> list[str]:
    """Say for which Pythons and platforms a direct requirement is not met by exactly one pin."""
    problems = []
    own = [pin for pin in pins if pin.name == canonicalize_name(wish.name)]
    for python, platform in PLACES:
        found = [pin for pin in own if pin.applies(python, platform)]
        if len(found) != 1:
            where = f"for Python {python} on {platform[0]} {platform[2]}"
            problems.append(f"{wish.name}: {len(found)} pins {where}, expected one")
        elif found[0].version and not wish.specifier.contains(found[0].version):
            problems.append(f"{wish.name}: pinned to {found[0].version}, asked for {wish}")
    return problems


def check(main: str, cuda: str, pyproject: str) -> list[str]:
    """Return what is wrong with the pinned files, one line each; nothing if all is well.

    Args:
        main: Text of constraints.txt.
        cuda: Text of constraints-cuda.txt.
        pyproject: Text of pyproject.toml.
    """
    problems = []
    pins = read_pins(main)
    for pin in [*pins, *read_pins(cuda)]:
        if pin.name in FORBIDDEN:
            problems.append(f"{pin.name}: must never be installed with kinegraph")
        if pin.version is None:
            problems.append(f"{pin.name}: not pinned to one version ({pin.requirement})")
        if not pin.hashes:
            problems.append(f"{pin.name}: no hash")
    problems += [f"{p.name}: belongs into {CUDA}" for p in pins if CUDA_NAMES.fullmatch(p.name)]
    problems += [f"{p.name}: pinned to {p.version}, expected {TORCH}"
                 for p in pins if p.name == "torch" and p.version != TORCH]  # fmt: skip
    problems += [f"a pinned file names an address: {line.strip()}"
                 for line in f"{main}\n{cuda}".splitlines() if "://" in line]  # fmt: skip
    for wish in wanted(pyproject):
        if canonicalize_name(wish.name) in FORBIDDEN:
            problems.append(f"{wish.name}: pyproject.toml must never ask for it")
        problems += _unmet(wish, pins)
    return sorted(set(problems))


def resolve(upgrade: bool) -> list[Pin]:
    """Resolve pyproject.toml for every platform with uv, keeping the present pins if it can."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "pins.txt"
        only_torch = Path(folder) / "torch.txt"
        only_torch.write_text(f"torch=={TORCH}\n")
        present = [ROOT / MAIN, ROOT / CUDA]
        output.write_text("".join(p.read_text() for p in present if p.exists() and not upgrade))
        command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml"]
        command += ["--universal", "--all-extras", "--python-version", PYTHONS[0]]
        command += ["--generate-hashes", "--only-binary", ":all:", "--annotation-style", "line"]
        command += ["--no-header", "--quiet", "--constraints", str(only_torch)]
        subprocess.run([*command, "--output-file", str(output)], cwd=ROOT, check=True)
        pins = read_pins(output.read_text())
    return [pin for pin in pins if any(pin.applies(*place) for place in PLACES)]


def write(upgrade: bool) -> None:
    """Resolve and write both files. ``upgrade`` looks for the newest versions."""
    texts = {MAIN: HEADER[MAIN], CUDA: HEADER[CUDA]}
    for pin in resolve(upgrade):
        if pin.name == "torch":
            pin = Pin(pin.requirement, tuple(sorted({*pin.hashes, *CPU_BUILDS})), pin.asked_by)
        texts[CUDA if CUDA_NAMES.fullmatch(pin.name) else MAIN] += pin.text()
    for name, text in texts.items():
        (ROOT / name).write_text(text)


def main(arguments: list[str]) -> int:
    """Run ``write``, ``upgrade`` or ``check``; return the exit code."""
    if arguments in (["write"], ["upgrade"]):
        write(upgrade=arguments == ["upgrade"])
    elif arguments != ["check"]:
        print(__doc__, file=sys.stderr)
        return 2
    problems = check(*((ROOT / name).read_text() for name in (MAIN, CUDA, "pyproject.toml")))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
