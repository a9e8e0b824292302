import gzip
import hashlib
import http.server
import os
import threading

import pytest

from secateur.data.files import Files
from secateur.data.places import Places, default_places
from secateur.data.raw import Known, RawFile
from secateur.errors import DataError, InputError

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


THE_THING = (Known(SHA256, "the thing"),)


def raw(*sources, name="thing.csv", also=(), known=THE_THING):
    return RawFile("things", name, known, also, sources)


@pytest.fixture
def folder(files):
    place = files.places.folders[0] / "things"
    place.mkdir()
    return place


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`, with ranges; breaks off after `at_most` bytes of one answer."""

    content = CONTENT
    at_most = None
    ranges = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}/thing.csv"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        if first >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[first:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.at_most])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def online(files):
    return Files(files.places, fetch=True)


def test_a_plain_and_a_gzipped_file_are_the_same_file(files, folder):
    (folder / "thing.csv.gz").write_bytes(gzip.compress(CONTENT))
    zipped = files.find(raw())
    assert (zipped.sha256, zipped.label) == (SHA256, "the thing")
    assert zipped.read() == CONTENT
    (folder / "thing.csv").write_bytes(CONTENT)
    assert files.find(raw()).path == folder / "thing.csv"
    assert files.find(raw()).sha256 == SHA256


def test_folders_are_searched_in_order(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name / "things").mkdir(parents=True)
        (tmp_path / name / "things" / "thing.csv").write_bytes(CONTENT)
    files = Files(Places((tmp_path / "first", tmp_path / "second"), tmp_path / "cache"), fetch=False)
    assert files.find(raw()).path.parent.parent.name == "first"
    (tmp_path / "first" / "things" / "thing.csv").unlink()
    assert files.find(raw()).path.parent.parent.name == "second"


def test_another_published_form_goes_by_its_own_label(files, folder):
    part = CONTENT[:1000]
    forms = (Known(SHA256, "whole"), Known(hashlib.sha256(part).hexdigest(), "part"))
    (folder / "part_of_thing.csv").write_bytes(part)
    assert files.find(raw(known=forms, also=("part_of_thing.csv",))).label == "part"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_one_changed_byte_is_refused_by_name(files, folder, suffix):
    path = folder / f"thing.csv{suffix}"
    for content in (CONTENT, CONTENT[:500] + b"\xff" + CONTENT[501:]):
        path.write_bytes(gzip.compress(content) if suffix else content)
        if content == CONTENT:
            files.find(raw())  # a file that was right once is read again
    with pytest.raises(DataError, match=rf"thing\.csv{suffix}: not the published file, but truncated or altered"):
        files.find(raw())


def test_a_cut_gzip_is_refused_by_name(files, folder):
    whole = gzip.compress(CONTENT)
    (folder / "thing.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"thing\.csv\.gz: truncated or damaged gzip"):
        files.find(raw())


def test_a_missing_file_says_where_it_was_looked_for(files):
    with pytest.raises(DataError, match=r"things/thing\.csv is missing \(looked in .*data, .*raw\), and it has no public source"):
        files.find(raw())
    with pytest.raises(DataError, match="fetching is switched off"):
        files.find(raw("http://127.0.0.1:9/thing.csv"))


def test_a_missing_package_is_named(files):
    missing = RawFile("", "verses.py", package="no_such_package_at_all", extra="'secateur[offline]'")
    with pytest.raises(DataError, match=r"pip install 'secateur\[offline\]'"):
        files.find(missing)


def test_a_fetched_file_is_verified_and_kept(online, server):
    seen = []
    files = Files(online.places, progress=lambda name, had, total: seen.append((name, had, total)))
    found = files.find(raw(server.url))
    assert found.path == online.places.fetched / "things" / "thing.csv"
    assert found.read() == CONTENT
    assert seen[-1] == ("thing.csv", len(CONTENT), len(CONTENT))
    files.find(raw(server.url))
    assert len(server.asked) == 1


def test_a_zipped_source_is_verified_by_its_content(online, server):
    server.content = gzip.compress(CONTENT)
    found = online.find(raw(f"{server.url}.gz"))
    assert found.path.name == "thing.csv.gz"
    assert found.read() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_ended(online, server, ranges):
    server.at_most = 300_000
    server.ranges = ranges
    with pytest.raises(DataError, match="could not be fetched"):
        online.find(raw(server.url))
    part = online.places.fetched / "things" / "thing.csv.part"
    assert part.stat().st_size == 300_000
    server.at_most = None
    assert online.find(raw(server.url)).read() == CONTENT
    assert server.asked == [None, "bytes=300000-"]
    assert not part.exists()


def test_a_whole_part_is_only_renamed(online, server):
    part = online.places.fetched / "things" / "thing.csv.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    assert online.find(raw(server.url)).read() == CONTENT


def test_wrong_bytes_from_a_source_are_thrown_away_and_the_next_is_asked(online, server):
    with Server() as liar:
        liar.content = b"something else"
        thread = threading.Thread(target=liar.serve_forever)
        thread.start()
        with pytest.raises(DataError, match="what was fetched has sha256"):
            online.find(raw(liar.url))
        assert [path.name for path in (online.places.fetched / "things").iterdir()] == [".thing.csv.lock"]
        assert online.find(raw(liar.url, server.url)).read() == CONTENT
        liar.shutdown()
        thread.join()


def test_of_two_who_want_the_same_file_one_fetches(online, server):
    def find():
        found.append(online.find(raw(server.url)).read())

    found = []
    threads = [threading.Thread(target=find) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 3
    assert len(server.asked) == 1


def test_a_large_file_is_read_again_only_when_it_changed(files, folder, monkeypatch):
    monkeypatch.setattr("secateur.data.files.ALWAYS_HASHED", 1000)
    path = folder / "thing.csv"
    path.write_bytes(CONTENT)
    files.find(raw())
    reads = []

    def read(path):
        reads.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr("secateur.data.files._file_sha256", read)
    files.find(raw())
    assert reads == []
    path.write_bytes(CONTENT[:-1] + b"x")
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match="not the published file"):
        files.find(raw())
    path.write_bytes(CONTENT)
    files.verified(raw(), path, afresh=True)
    assert len(reads) == 2


def test_of_several_forms_the_whole_one_is_taken(files, folder):
    archive, parts = raw(name="all.tar.gz"), (raw(name="a.txt"), raw(name="b.txt"))
    (folder / "a.txt").write_bytes(CONTENT)
    with pytest.raises(DataError, match=r"things/b\.txt is missing"):
        files.find_all(parts, (archive,))
    (folder / "all.tar.gz").write_bytes(CONTENT)
    assert [found.path.name for found in files.find_all(parts, (archive,))] == ["all.tar.gz"]
    (folder / "b.txt").write_bytes(CONTENT)
    assert [found.path.name for found in files.find_all(parts, (archive,))] == ["a.txt", "b.txt"]


def test_places_come_from_the_argument_then_the_environment(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "env").mkdir()
    environ = {"SECATEUR_DATA": str(tmp_path / "env"), "SECATEUR_CACHE": str(tmp_path / "kept")}
    places = default_places(tmp_path / "mine", environ)
    assert places == Places((tmp_path / "mine", tmp_path / "env"), tmp_path / "kept")
    assert default_places(None, {}).folders == ()
    with pytest.raises(InputError, match=r"SECATEUR_DATA: .*nowhere' is no folder"):
        default_places(None, {"SECATEUR_DATA": str(tmp_path / "nowhere")})
