"""Progress passes every item on, and says how far it is without filling a log."""

from __future__ import annotations

import sys

import pytest

from kinegraph import console


def test_short_work_off_a_terminal_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(console.progress(range(5), "counting", 5)) == [0, 1, 2, 3, 4]
    assert capsys.readouterr() == ("", "")


def test_long_work_off_a_terminal_says_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 1000, 4))
    monkeypatch.setattr(console.time, "monotonic", lambda: next(seconds))
    assert list(console.progress(iter(range(8)), "counting", 8)) == list(range(8))
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["counting: 3/8", "counting: 6/8"]
    assert captured.out == ""


def test_a_terminal_shows_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(console.progress(range(5), "counting", 5)) == [0, 1, 2, 3, 4]
    captured = capsys.readouterr()
    assert "counting" in captured.err
    assert "5/5" in captured.err
    assert captured.out == ""


def test_lines_are_never_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("x" * 500 + " [bold]")
    console.remark("y" * 500)
    assert capsys.readouterr() == ("x" * 500 + " [bold]\n", "y" * 500 + "\n")


def test_waiting_without_progress_says_nothing_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 10_000, 20))
    monkeypatch.setattr(console.time, "monotonic", lambda: next(seconds))
    with console.meter("waiting", 3) as shown:
        for done in (0, 0, 1, 1, 1, 2):
            shown.update(done)
    assert capsys.readouterr().err.splitlines() == ["waiting: 1/3", "waiting: 2/3"]


def test_of_several_processes_the_others_speak_of_errors_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.speak_only_of_errors("rank 1")
    try:
        console.say("a result")
        console.remark("a remark")
        with console.meter("work", 3) as shown:
            shown.update(2)
        console.complain("kinegraph train", "no such thing")
    finally:
        console.speak_only_of_errors("")
    console.complain("kinegraph train", "no such thing")
    console.say("a result")
    out, err = capsys.readouterr()
    assert out == "a result\n"
    assert err == "kinegraph train: rank 1: no such thing\nkinegraph train: no such thing\n"
