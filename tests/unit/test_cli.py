from __future__ import annotations

import subprocess
import sys

import pytest

from kinegraph import __version__, cli
from kinegraph.cli import VERBS, Verb, main

HEAVY = ("torch", "matplotlib", "sklearn", "tensorboard", "PIL", "scipy")


def test_overview_has_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"], ["help"]):
        assert main(words) == 0
        text = capsys.readouterr().out
        for name, verb in VERBS.items():
            assert f"  {name} " in text
            assert verb.summary in text
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"kinegraph {__version__}\n"
    assert main(["data", "--help"]) == 0
    text = capsys.readouterr().out
    assert "  data check " in text
    assert "  train " not in text


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        main([*name.split(), "--help"])
    assert stop.value.code == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"usage: kinegraph {name} ")
    assert captured.err == ""
    assert "{None}" not in captured.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "kinegraph: unknown verb 'trian'; nearest: 'train'; see kinegraph --help"),
        (["--quiet"], "kinegraph: unknown verb '--quiet'"),
        (["data"], "kinegraph: data needs one more word: data fetch, data import, "),
        (["data", "imprt"], "unknown verb 'data imprt'; nearest: 'data import'"),
        (["list", "--plugin"], "kinegraph list: --plugin needs a Python file"),
        (["list", "--plugin=no.py"], "kinegraph list: plug-in 'no.py' does not exist"),
        ([""], "unknown verb ''"),
        (["a\nb"], "unknown verb 'a"),
    ],
)  # fmt: skip
def test_wrong_verbs(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_interruption_is_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_verb", interrupted)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "kinegraph list: interrupted\n"


def test_defects_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERBS, "broken", Verb("", "no_such_module"))
    with pytest.raises(ModuleNotFoundError):
        main(["broken"])


@pytest.mark.parametrize(
    "words",
    [["--help"], ["list"], ["list", "recipes"], ["train", "ctrgcn", "--dry-run"],
     ["train", "ctrgcn", "--help"], ["train", "--optim.lrr", "3", "ctrgcn"], ["test", "--foo"],
     ["reproduce"], ["reproduce", "ctrgcn:nw-ucla", "--dry-run", "--out", "nowhere"]],
    ids=" ".join,
)  # fmt: skip
def test_nothing_heavy_is_imported_without_need(words: list[str]) -> None:
    code = (
        "import sys; from kinegraph.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == ""


@pytest.mark.parametrize("word", ["--help", "list"])
def test_closed_pager_is_no_error(word: str) -> None:
    command = [sys.executable, "-m", "kinegraph", word]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()  # long before anything is written
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0
