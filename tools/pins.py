"""Write and check the pinned environment: ``constraints.txt`` and its two companions for torch.

``python tools/pins.py write`` resolves pyproject.toml for every platform with uv (``upgrade``
looks for the newest versions); ``check`` reads the files and says what is wrong with them.
Why there are three files, and why they are installed with ``--no-deps``:
docs/adr/0001-pinned-environment.md.
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
CPU = "constraints-cpu.txt"
CUDA = "constraints-cuda.txt"
FILES = (MAIN, CPU, CUDA)
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = (
    ("linux", "Linux", "x86_64"),
    ("linux", "Linux", "aarch64"),
    ("darwin", "Darwin", "arm64"),
)
PLACES = tuple((python, platform) for python in PYTHONS for platform in PLATFORMS)

# One torch for everybody: an unpinned one brings gigabytes of another build with every release.
TORCH = "2.13.0"
# sha256 of the CPU builds of that torch. They are not on the package index, but a machine may
# offer them through pip's find-links.
CPU_BUILDS = ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)  # cp311 x86_64

# What only the CUDA build of torch asks for. The CPU build runs without. Triton is wanted with
# either: its interpreter tests the kernels where there is no GPU.
CUDA_NAMES = re.compile(r"(nvidia|cuda)-.*")
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
    CPU: """\
# The CPU build of the pinned torch. Written by `make pins`; `make setup` tries it first, and finds
# it only where pip's find-links (the variable PIP_FIND_LINKS) offer it: the index does not have it.
--no-index
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
        if not Pin(wish, ()).applies(python, platform):
            continue
        found = [pin for pin in own if pin.applies(python, platform)]
        if len(found) != 1:
            where = f"for Python {python} on {platform[0]} {platform[2]}"
            problems.append(f"{wish.name}: {len(found)} pins {where}, expected one")
        elif found[0].version and not wish.specifier.contains(found[0].version):
            problems.append(f"{wish.name}: pinned to {found[0].version}, asked for {wish}")
    return problems


def _wrong_pin(pin: Pin) -> list[str]:
    """Say what is wrong with one pin by itself."""
    problems = []
    if pin.name in FORBIDDEN:
        problems.append(f"{pin.name}: must never be installed with kinegraph")
    if pin.version is None:
        problems.append(f"{pin.name}: not pinned to one version ({pin.requirement})")
    if not pin.hashes:
        problems.append(f"{pin.name}: no hash")
    if pin.name == "torch" and pin.version != TORCH:
        problems.append(f"torch: pinned to {pin.version}, expected {TORCH}")
    return problems


def check(texts: dict[str, str], pyproject: str) -> list[str]:
    """Return what is wrong with the pinned files, one line each; nothing if all is well.

    Args:
        texts: The text of each of the files, by name.
        pyproject: The text of pyproject.toml.
    """
    problems = []
    for file, text in texts.items():
        problems += [f"{file}: {wrong}" for pin in read_pins(text) for wrong in _wrong_pin(pin)]
        if "://" in text:
            problems.append(f"{file}: names an address")
    pins = read_pins(texts[MAIN])
    strays = [pin.name for pin in pins if CUDA_NAMES.fullmatch(pin.name)]
    problems += [f"{MAIN}: {name} belongs into {CUDA}" for name in strays]
    for wish in wanted(pyproject):
        if canonicalize_name(wish.name) in FORBIDDEN:
            problems.append(f"pyproject.toml: {wish.name} must never be asked for")
        problems += [f"{MAIN}: {wrong}" for wrong in _unmet(wish, pins)]
    return list(dict.fromkeys(problems))


def resolve(upgrade: bool) -> list[Pin]:
    """Resolve pyproject.toml for every platform with uv, keeping the present pins if it can."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "pins.txt"
        only_torch = Path(folder) / "torch.txt"
        only_torch.write_text(f"torch=={TORCH}\n")
        if not upgrade:  # without their hashes, which uv would believe instead of asking again
            files = [ROOT / name for name in (MAIN, CUDA) if (ROOT / name).exists()]
            present = [pin.requirement for file in files for pin in read_pins(file.read_text())]
            output.write_text("".join(f"{requirement}\n" for requirement in present))
        command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml"]
        command += ["--universal", "--all-extras", "--python-version", PYTHONS[0]]
        command += ["--generate-hashes", "--only-binary", ":all:", "--annotation-style", "line"]
        command += ["--no-header", "--quiet", "--constraints", str(only_torch)]
        subprocess.run([*command, "--output-file", str(output)], cwd=ROOT, check=True)
        pins = read_pins(output.read_text())
    return [pin for pin in pins if any(pin.applies(*place) for place in PLACES)]


def write(upgrade: bool) -> None:
    """Resolve and write the files. ``upgrade`` looks for the newest versions."""
    texts = dict(HEADER)
    texts[CPU] += Pin(Requirement(f"torch=={TORCH}"), CPU_BUILDS).text()
    for pin in resolve(upgrade):
        texts[CUDA if CUDA_NAMES.fullmatch(pin.name) else MAIN] += pin.text()
    for name, text in texts.items():
        (ROOT / name).write_text(text)


def main(arguments: list[str]) -> int:
    """Run ``write``, ``upgrade`` or ``check``; return the exit code."""
    if arguments not in (["write"], ["upgrade"], ["check"]):
        print("usage: python tools/pins.py write | upgrade | check", file=sys.stderr)
        return 2
    if arguments != ["check"]:
        write(upgrade=arguments == ["upgrade"])
    texts = {name: (ROOT / name).read_text() for name in FILES}
    problems = check(texts, (ROOT / "pyproject.toml").read_text())
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
