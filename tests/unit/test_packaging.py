"""The package as a whole: versions agree, pins are complete, imports stay light."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

import kinegraph

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text()


@pytest.fixture(scope="module")
def pins() -> ModuleType:
    """The tool that writes and checks the pinned files."""
    spec = importlib.util.spec_from_file_location("pins", ROOT / "tools" / "pins.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pins"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def texts(pins: ModuleType) -> dict[str, str]:
    """The pinned files, by name."""
    return {name: (ROOT / name).read_text() for name in pins.FILES}


def test_the_version_is_stated_once() -> None:
    assert tomllib.loads(PYPROJECT)["project"]["version"] == kinegraph.__version__
    assert metadata.version("kinegraph") == kinegraph.__version__


def test_the_pinned_files_are_in_order(pins: ModuleType, texts: dict[str, str]) -> None:
    assert pins.check(texts, PYPROJECT) == []


def test_torchvision_is_nowhere(pins: ModuleType, texts: dict[str, str]) -> None:
    names = {pin.name for text in texts.values() for pin in pins.read_pins(text)}
    assert "torch" in names
    assert "torchvision" not in names
    asked = [line.lower() for line in metadata.requires("kinegraph") or []]
    assert asked
    assert not [line for line in asked if line.startswith("torchvision")]
    assert importlib.util.find_spec("torchvision") is None


DIGEST = "0" * 64


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("constraints.txt", f"torchvision==0.28.0 --hash=sha256:{DIGEST}", "never be installed"),
        ("constraints-cuda.txt", f"apex==1.0 --hash=sha256:{DIGEST}", "never be installed"),
        ("constraints.txt", f"torch==2.12.0 --hash=sha256:{DIGEST}", "torch: pinned to 2.12.0"),
        ("constraints.txt", f"colorama>=0.4 --hash=sha256:{DIGEST}", "not pinned to one version"),
        ("constraints.txt", "colorama==0.4.6", "colorama: no hash"),
        ("constraints.txt", f"nvidia-nvtx==13.0.85 --hash=sha256:{DIGEST}", "belongs into"),
        ("constraints-cpu.txt", "--index-url https://example.org/simple", "names an address"),
    ],
)
def test_a_bad_pin_is_named(
    pins: ModuleType, texts: dict[str, str], file: str, line: str, complaint: str
) -> None:
    texts[file] += line + "\n"
    assert [problem for problem in pins.check(texts, PYPROJECT) if complaint in problem]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"rich>=13.7"', '"rich>=13.7", "colorama"', "colorama: 0 pins for Python 3.11"),
        ('"rich>=13.7"', '"rich>=1300"', "rich: pinned to"),
        ('"rich>=13.7"', '"torchvision"', "torchvision must never be asked for"),
        ('"triton>=3.6;', '"triton>=300;', "triton: pinned to"),
    ],
)
def test_a_dependency_that_the_pins_do_not_meet_is_named(
    pins: ModuleType, texts: dict[str, str], old: str, new: str, complaint: str
) -> None:
    changed = PYPROJECT.replace(old, new)
    assert changed != PYPROJECT
    assert [problem for problem in pins.check(texts, changed) if complaint in problem]


def test_the_installed_packages_are_the_pinned_ones(
    pins: ModuleType, texts: dict[str, str]
) -> None:
    if not (Path(sys.prefix) / "installed").exists():
        pytest.skip("not the environment that `make setup` made")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    place = next(platform for platform in pins.PLATFORMS if platform[0] == sys.platform)
    for pin in pins.read_pins(texts["constraints.txt"]):
        if pin.applies(python, place):
            assert metadata.version(pin.name).split("+")[0] == pin.version, pin.name


@pytest.mark.parametrize("module", ["kinegraph", "kinegraph.cli"])
def test_importing_does_not_import_torch(module: str) -> None:
    heavy = "{'torch', 'sklearn', 'matplotlib', 'tensorboard'}"
    code = f"import sys, {module}; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("kinegraph/")}
    source = ROOT / "src"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert packed == {name for name in files if "__pycache__" not in name}
    assert {Path(name).suffix for name in packed} >= {".py", ".toml"}
