"""Downloads: whole or not at all, resumed where that is right, verified from then on."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import pickle
import shutil
import ssl
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import IO
from urllib.request import Request

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinegraph.data import fetching
from kinegraph.data.fetching import Fetched, Patience, download, fetch_file
from kinegraph.data.fetching.download import Version, check_address
from kinegraph.errors import FetchError, OutputError

from .conftest import archive
from .site import Site, serve

QUICK = Patience(timeout=5.0, tries=3, pause=0.001)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "all.zip"


def fetch(site: Site, path: Path, **options: object) -> Fetched:
    return fetch_file(f"{site.address}/all.zip", path, patience=QUICK, **options)  # type: ignore[arg-type]


def refused(site: Site, path: Path, **options: object) -> str:
    """Fetch what cannot be fetched; nothing may bear the final name."""
    before = path.read_bytes() if path.exists() else None
    with pytest.raises((FetchError, OutputError)) as caught:
        fetch(site, path, **options)
    assert (path.read_bytes() if path.exists() else None) == before
    return str(caught.value)


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- whole, and verified


def test_a_file_comes_whole_with_its_checksum(site: Site, path: Path) -> None:
    fetched = fetch(site, path)
    assert path.read_bytes() == site.content
    assert fetched == Fetched(path, sha256(site.content), len(site.content), new=True)
    assert names(path) == ["all.zip", "all.zip.sha256"]
    assert path.with_name("all.zip.sha256").read_text() == f"{fetched.sha256}  all.zip\n"
    assert site.asked == [(None, None)]


def test_a_file_that_is_there_is_verified_and_not_fetched(site: Site, path: Path) -> None:
    fetch(site, path)
    assert not fetch(site, path).new
    assert len(site.asked) == 1
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert "is not what was fetched" in refused(site, path)
    assert fetch(site, path, force=True).new
    assert path.read_bytes() == site.content


def test_a_file_of_unknown_origin_is_left_alone(site: Site, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"mine")
    assert "without a checksum beside it" in refused(site, path)
    assert site.asked == []
    known = fetch_file("http://nowhere.invalid/all.zip", path, sha256=sha256(b"mine"))
    assert not known.new
    assert "mine" not in refused(site, path, sha256="0" * 64)


def test_the_recorded_checksum_binds_later_fetches(site: Site, path: Path) -> None:
    first = fetch(site, path).sha256
    path.unlink()
    site.content, site.etag = archive(seed=1), '"two"'
    message = refused(site, path)
    assert f"expected {first}" in message
    assert sha256(site.content) in message
    assert names(path) == ["all.zip.sha256"]  # what is whole but wrong is not gone on with
    assert fetch(site, path, force=True).sha256 == sha256(site.content)
    assert fetch(site, path).sha256 == sha256(site.content)


def test_a_stated_checksum_must_be_met(site: Site, path: Path) -> None:
    assert "gave another file than expected" in refused(site, path, sha256="a" * 64)
    assert names(path) == []
    assert "--sha256 holds no sha256" in refused(site, path, sha256="abc")
    assert fetch(site, path, sha256=sha256(site.content).upper()).new


def test_a_garbled_record_is_named(site: Site, path: Path) -> None:
    path.parent.mkdir()
    path.with_name("all.zip.sha256").write_text("hello")
    assert "all.zip.sha256' holds no sha256" in refused(site, path)


def test_a_folder_in_the_way_is_no_target(site: Site, path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(OutputError, match="is a folder"):
        fetch(site, path, force=True)


# --- cut connections


def test_a_cut_connection_is_gone_on_with(site: Site, path: Path) -> None:
    site.cut = [10_000, 20_000]
    fetch(site, path)
    assert path.read_bytes() == site.content
    assert site.asked == [(None, None), ("bytes=10000-", '"one"'), ("bytes=30000-", '"one"')]


def test_what_came_is_kept_for_the_next_time(site: Site, path: Path) -> None:
    site.cut = [7_000, 0, 0]
    assert "7000 bytes are kept, the same command goes on from there" in refused(site, path)
    assert names(path) == ["all.zip.part", "all.zip.part.json"]
    site.asked.clear()
    fetch(site, path)
    assert site.asked == [("bytes=7000-", '"one"')]
    assert path.read_bytes() == site.content
    assert names(path) == ["all.zip", "all.zip.sha256"]


def test_trying_ends(site: Site, path: Path) -> None:
    site.cut = [0] * 10
    assert "3 times in a row" in refused(site, path)
    assert len(site.asked) == 3
    assert names(path) == []  # nothing came, nothing lies around


def test_a_part_that_is_complete_is_only_verified(site: Site, path: Path) -> None:
    site.cut = [50_000, 0, 0]
    refused(site, path)
    path.with_name("all.zip.part").write_bytes(site.content)  # as if killed before the renaming
    site.asked.clear()
    fetch(site, path)
    assert site.asked == []
    assert path.read_bytes() == site.content


@pytest.mark.parametrize("change", ["etag", "modified", "length"])
@pytest.mark.parametrize("minds", [True, False], ids=["if-range", "ignores if-range"])
def test_a_file_that_changes_between_is_fetched_from_the_start(
    site: Site, path: Path, change: str, minds: bool
) -> None:
    site.minds_if_range = minds
    site.cut = [9_000, 0, 0]
    refused(site, path)
    if change == "etag":
        site.content, site.etag = archive(seed=1), '"two"'
    elif change == "modified":
        site.content, site.modified = archive(seed=1), "Sun, 02 Jan 2022 00:00:00 GMT"
    else:
        site.content = archive(seed=1, size=50_000)
    fetch(site, path)
    assert path.read_bytes() == site.content


def test_a_server_without_ranges_starts_over(site: Site, path: Path) -> None:
    site.ranges = False
    site.cut = [30_000, 30_000]
    fetch(site, path)
    assert path.read_bytes() == site.content
    site.cut = [30_000] * 10
    path.unlink()
    assert "3 times in a row" in refused(site, path)


@pytest.mark.parametrize(("etag", "modified", "asked"), [
    ("", "Sat, 01 Jan 2022 00:00:00 GMT", ("bytes=10000-", "Sat, 01 Jan 2022 00:00:00 GMT")),
    ('W/"one"', "", ("bytes=10000-", None)),
    ("", "", (None, None)),  # no way to tell versions apart: nothing is gone on with
])  # fmt: skip
def test_versions_are_told_apart_by_what_the_server_gives(
    site: Site, path: Path, etag: str, modified: str, asked: tuple[str | None, str | None]
) -> None:
    site.etag, site.modified, site.cut = etag, modified, [10_000]
    fetch(site, path)
    assert site.asked == [(None, None), asked]
    assert path.read_bytes() == site.content


def test_a_weak_tag_that_changed_is_noticed(site: Site, path: Path) -> None:
    site.etag, site.modified, site.cut = 'W/"one"', "", [10_000, 0, 0]
    refused(site, path)
    site.content, site.etag = archive(seed=1), 'W/"two"'
    fetch(site, path)
    assert path.read_bytes() == site.content


@pytest.mark.parametrize("note", [
    "", "{", "[1]", '{"url": "x"}', '{"more": 1}', '{"url": "URL", "etag": 5}',
    '{"url": "URL", "etag": "x", "length": "y"}', '{"url": "URL", "etag": null, "modified": "x"}',
])  # fmt: skip
def test_a_part_without_a_trustworthy_note_is_dropped(site: Site, path: Path, note: str) -> None:
    note = note.replace("URL", f"{site.address}/all.zip")
    path.parent.mkdir()
    path.with_name("all.zip.part").write_bytes(b"x" * 5_000)
    path.with_name("all.zip.part.json").write_text(note)
    fetch(site, path)
    assert site.asked == [(None, None)]
    assert path.read_bytes() == site.content


def test_a_part_of_another_address_is_dropped(site: Site, path: Path) -> None:
    site.cut = [9_000, 0, 0]
    refused(site, path)
    site.asked.clear()
    fetch_file(f"{site.address}/mirror/all.zip", path, patience=QUICK)
    assert site.asked == [(None, None)]
    assert path.read_bytes() == site.content


def test_a_part_that_is_too_long_is_dropped(site: Site, path: Path) -> None:
    site.cut = [9_000, 0, 0]
    refused(site, path)
    with path.with_name("all.zip.part").open("ab") as file:
        file.write(bytes(100_000))
    fetch(site, path)
    assert path.read_bytes() == site.content


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(1, 40_000), max_size=4),
    ranges=st.booleans(), minds=st.booleans(), etag=st.sampled_from(["", '"one"', 'W/"one"']),
    change_after=st.integers(0, 4),
)  # fmt: skip
def test_whatever_happens_on_the_way_the_file_is_right(
    cuts: list[int], ranges: bool, minds: bool, etag: str, change_after: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    old, new = archive(), archive(seed=1)
    target = tmp_path_factory.mktemp("fetch") / "all.zip"
    with serve(Site(old, etag=etag, ranges=ranges, minds_if_range=minds)) as site:
        for number, cut in enumerate(cuts):
            if number == change_after:
                site.content, site.etag = new, etag.replace("one", "two")
                site.modified = "Sun, 02 Jan 2022 00:00:00 GMT"
            site.cut = [cut, 0]
            patience = Patience(timeout=5.0, tries=1, pause=0.0)
            try:
                fetch_file(f"{site.address}/all.zip", target, patience=patience)
                break
            except FetchError:
                assert not target.exists()
        site.cut = []
        if not target.exists():
            fetch_file(f"{site.address}/all.zip", target, patience=QUICK)
        assert target.read_bytes() == site.content


def test_a_process_that_was_killed_leaves_what_can_be_gone_on_with(
    site: Site, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(piece: bytes) -> None:
        raise Killed

    store = fetching.receive
    monkeypatch.setattr(
        fetching, "receive",
        lambda answer, write: (write(answer.body.read(12_345)), killed(b"")),
    )  # fmt: skip
    with pytest.raises(Killed):
        fetch(site, path)
    assert names(path) == ["all.zip.part", "all.zip.part.json"]
    monkeypatch.setattr(fetching, "receive", store)
    fetch(site, path)
    assert site.asked[-1] == ("bytes=12345-", '"one"')
    assert path.read_bytes() == site.content


def test_what_another_process_has_just_finished_is_not_touched(
    site: Site, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, lock = path.with_name("all.zip.part"), fcntl.flock

    def finish_first(file: IO[bytes], operation: int) -> None:
        os.replace(part, path)
        lock(file, operation)

    path.parent.mkdir()
    part.write_bytes(b"finished")
    monkeypatch.setattr(fetching.fcntl, "flock", finish_first)
    with pytest.raises(FetchError, match="by another process"):
        fetch(site, path)
    assert path.read_bytes() == b"finished"


def test_two_processes_do_not_write_to_one_file(site: Site, path: Path) -> None:
    path.parent.mkdir()
    with path.with_name("all.zip.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "is being fetched by another process" in refused(site, path)
    assert site.asked == []


# --- wrong lengths, wrong files, wrong answers


@pytest.mark.parametrize("ranges", [True, False])
def test_less_than_was_declared_is_never_taken_for_whole(
    site: Site, path: Path, ranges: bool
) -> None:
    site.declared, site.ranges = len(site.content) + 10, ranges
    assert f"of {site.declared} bytes" in refused(site, path)


def test_more_than_was_declared_is_no_archive(site: Site, path: Path) -> None:
    site.declared = len(site.content) - 10
    message = refused(site, path)
    assert "gave no zip archive, or one that is cut short" in message
    assert names(path) == []


@pytest.mark.parametrize("length", ["9" * 5000, "-5", "ten"])
def test_an_odd_length_counts_as_none(site: Site, path: Path, length: str) -> None:
    site.states_length, site.more = False, {"Content-Length": length}
    fetch(site, path)
    assert path.read_bytes() == site.content


def test_words_of_the_server_do_not_reach_the_terminal_raw(
    site: Site, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.fail, site.reason = [503], "\x1b[31mred"
    fetch(site, path)
    said = capsys.readouterr().err
    assert "(\\x1b[31mred); asking again in" in said
    assert "\x1b" not in said


def test_a_packed_answer_is_refused(site: Site, path: Path) -> None:
    site.more = {"Content-Encoding": "gzip"}
    assert "is sent packed (gzip), unasked" in refused(site, path)


def test_a_length_that_is_not_declared_is_accepted_if_the_file_is_whole(
    site: Site, path: Path
) -> None:
    site.states_length = False
    fetch(site, path)
    assert path.read_bytes() == site.content
    path.unlink()
    path.with_name("all.zip.sha256").unlink()
    site.content = site.content[:-100]
    assert "cut short" in refused(site, path)


@pytest.mark.parametrize(("kind", "page"), [
    ("text/html; charset=utf-8", b"<html><head><title>Drive &ndash; Virus\n scan</title>"),
    ("application/octet-stream", b"\n<!DOCTYPE html><TITLE>Drive \xe2\x80\x93 Virus scan</TITLE>"),
])  # fmt: skip
def test_a_page_instead_of_a_file_is_named(site: Site, path: Path, kind: str, page: bytes) -> None:
    site.kind, site.content = kind, page + bytes(1000)
    message = refused(site, path)
    assert "answers with a web page ('Drive – Virus scan'), not with a file" in message
    assert "open it in a browser" in message
    assert names(path) == []


@pytest.mark.parametrize(("name", "good", "bad"), [
    ("a.pkl", pickle.dumps({"split": {}}), pickle.dumps({"split": {}})[:-1]),
    ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(50), b"Rar!" + bytes(50)),
    ("a.txt", b"anything", None),
])  # fmt: skip
def test_other_kinds_are_told_by_their_ends(
    site: Site, path: Path, name: str, good: bytes, bad: bytes | None
) -> None:
    if bad is not None:
        site.content = bad
        assert "; nothing was kept" in refused(site, path.with_name(name))
    site.content = good
    assert fetch(site, path.with_name(name)).size == len(good)


@pytest.mark.parametrize(("status", "said"), [
    (404, "is not there (404): it may have moved"),
    (410, "is not there (410)"),
    (403, "may not be fetched (403 Forbidden)"),
    (400, "the server answers 400 (Bad Request)"),
    (206, "answers oddly: status 206"),
    (304, "leads astray: Not Modified"),
])  # fmt: skip
def test_a_refusal_is_worded_and_not_repeated(
    site: Site, path: Path, status: int, said: str
) -> None:
    site.status = status
    assert said in refused(site, path)
    assert len(site.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(
    site: Site, path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(fetching.time, "sleep", pauses.append)
    site.fail, site.retry_after = [status, status], "2"
    fetch(site, path)
    assert len(site.asked) == 3
    assert pauses == [2.0, 2.0]


def test_pauses_grow_and_have_a_limit(
    site: Site, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(fetching.time, "sleep", pauses.append)
    site.fail = [503] * 5
    patience = Patience(tries=6, pause=1.0, longest=5.0)
    fetch_file(f"{site.address}/all.zip", path, patience=patience)
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0]


# --- redirections and addresses


def test_redirections_within_the_web_are_followed(site: Site, path: Path) -> None:
    site.redirect = {
        "/all.zip": "/else where.zip",
        "/else%20where.zip": f"{site.address}/there.zip",
    }
    site.cut = [10_000]
    fetch(site, path)
    assert path.read_bytes() == site.content
    assert [asked[0] for asked in site.asked] == [None] * 3 + ["bytes=10000-"] * 3


@pytest.mark.parametrize(("to", "said"), [
    ("file:///etc/passwd", "leads astray"),
    ("ftp://127.0.0.1/all.zip", "is no address that can be fetched"),
    ("/all.zip", "leads astray"),  # round and round
])  # fmt: skip
def test_other_redirections_are_refused(site: Site, path: Path, to: str, said: str) -> None:
    site.redirect = {"/all.zip": to}
    assert said in refused(site, path)
    assert names(path) == []


def test_a_secure_address_does_not_lead_to_an_open_one() -> None:
    follow = download._Redirections().redirect_request
    arguments = (302, "Found", SimpleNamespace())
    with pytest.raises(FetchError, match="not secure"):
        follow(Request("https://a.example/x"), io.BytesIO(), *arguments, "http://b.example/x")  # type: ignore[arg-type]
    request = follow(
        Request("https://a.example/x", headers={"Range": "bytes=5-"}), None, *arguments, "https://b.example/y"  # type: ignore[arg-type]
    )  # fmt: skip
    assert request is not None
    assert (request.full_url, request.headers["Range"]) == ("https://b.example/y", "bytes=5-")


@pytest.mark.parametrize(
    "url", ["", "all.zip", "file:///etc/passwd", "ftp://a/b", "http://", "http://a:b/c", "http://["]
)
def test_only_addresses_of_the_web_are_fetched(url: str, path: Path) -> None:
    with pytest.raises(FetchError, match="expected http"):
        fetch_file(url, path)
    assert not path.parent.exists()


def test_unusual_characters_are_escaped(site: Site, path: Path) -> None:
    assert check_address("http://a/b%20c d\n?e=ü") == "http://a/b%20c%20d%0A?e=%C3%BC"
    fetch_file(f"{site.address}/ä b.zip", path, patience=QUICK)
    assert path.read_bytes() == site.content


# --- no network, no room


@pytest.mark.parametrize(("url", "said"), [
    ("http://name.invalid/all.zip", "the name 'name.invalid' cannot be resolved"),
    ("http://127.0.0.1:1/all.zip", "'127.0.0.1' cannot be reached (Connection refused)"),
])  # fmt: skip
def test_no_network_is_said_at_once(
    site: Site, path: Path, url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching.time, "sleep", lambda seconds: pytest.fail("waits"))
    with pytest.raises(FetchError) as caught:
        fetch_file(url, path)
    assert said in str(caught.value)
    assert names(path) == []


def test_a_proxy_of_the_environment_is_asked(
    site: Site, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", site.address)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    site.cut = [10_000]
    fetch_file("http://name.invalid/all.zip", path, patience=QUICK)
    assert path.read_bytes() == site.content


def test_silence_counts_as_a_cut(site: Site, path: Path) -> None:
    site.declared, site.hold = len(site.content) + 1, 0.3
    patience = Patience(timeout=0.05, tries=1)
    with pytest.raises(FetchError, match="timed out"):
        fetch_file(f"{site.address}/all.zip", path, patience=patience)


def test_a_certificate_that_nobody_vouches_for(site: Site, path: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", "key.pem", "-out", "certificate.pem", "-subj", "/CN=127.0.0.1"],
        cwd=tmp_path, check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    with serve(Site(content=site.content), context) as secure, pytest.raises(FetchError) as caught:
        fetch_file(f"{secure.address}/all.zip", path, patience=QUICK)
    assert "'127.0.0.1' cannot be trusted: self" in str(caught.value)
    assert secure.asked == []


def test_a_full_disk_is_said_before_anything_comes(
    site: Site, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    assert "has 0 MB free, but 'all.zip' needs 0 MB" in refused(site, path)
    assert names(path) == []


def test_a_file_without_end_does_not_fill_the_disk(
    site: Site, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.states_length = False
    free = iter([10**9, *[1000] * 9])
    monkeypatch.setattr(fetching, "LOOK_EVERY", 20_000)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free)))
    assert "make room" in refused(site, path)


def test_a_disk_that_refuses_is_no_cut_connection(
    site: Site, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching.os, "replace", full)
    assert refused(site, path).endswith("No space left on device")
    assert len(site.asked) == 1


def test_versions_without_marks_are_never_the_same() -> None:
    assert not Version("a", 5).same(Version("a", 5))
    assert Version("a", 5, etag="x").same(Version("a", 5, etag="x"))
    assert not Version("a", 5, etag="x").same(Version("a", 6, etag="x"))
