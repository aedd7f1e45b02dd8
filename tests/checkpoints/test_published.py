"""Downloads, from a server of our own on this machine."""

import hashlib
import http.server
import threading

import numpy as np
import pytest

from keras_vicregl.checkpoints import PUBLISHED, download_checkpoint
from keras_vicregl.checkpoints.published import find_checkpoint

NAME = "resnet50_alpha0.9"
# Checkpoints are zip files, which start so.
CONTENT = b"PK" + np.random.default_rng(0).bytes(2_999_998)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, with ranges, and cuts off where the test says."""

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        if not self.path.endswith(".pth"):
            self.send_error(404)
            return
        start = 0
        if server.ranges and self.headers.get("Range"):
            start = int(self.headers["Range"][len("bytes=") : -1])
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            last = len(CONTENT) - 1
            self.send_header(
                "Content-Range", f"bytes {start}-{last}/{last + 1}"
            )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.requests, server.ranges, server.cut = [], True, None
    server.content = CONTENT
    server.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def download(server, folder, **kwargs):
    return download_checkpoint(NAME, cache_dir=folder, url=server.url, **kwargs)


def test_it_downloads_once(server, tmp_path, capsys):
    path = download(server, tmp_path)
    assert path.name == "resnet50_alpha0.9.pth"
    assert path.read_bytes() == CONTENT
    assert "CC-BY-NC" in capsys.readouterr().out
    recorded = (tmp_path / (path.name + ".sha256")).read_text().strip()
    assert recorded == hashlib.sha256(CONTENT).hexdigest()
    assert download(server, tmp_path) == path
    assert "CC-BY-NC" in capsys.readouterr().out
    assert server.requests == [("/resnet50_alpha0.9.pth", None)]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_full_checkpoint_has_its_own_name(server, tmp_path):
    path = download(server, tmp_path, full=True)
    assert path.name == "resnet50_alpha0.9_fullckpt.pth"


@pytest.mark.parametrize("ranges", [True, False])
def test_it_continues_where_it_was_cut_off(server, tmp_path, ranges):
    server.ranges, server.cut = ranges, 1_000_000
    with pytest.raises(OSError, match=r"1000000 of 3000000.*continue"):
        download(server, tmp_path)
    assert not (tmp_path / "resnet50_alpha0.9.pth").exists()
    server.cut = None
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[1][1] == "bytes=1000000-"


def test_it_finishes_when_only_the_renaming_was_missing(server, tmp_path):
    (tmp_path / "resnet50_alpha0.9.pth.part").write_bytes(CONTENT)
    assert download(server, tmp_path).read_bytes() == CONTENT


def test_leftovers_of_another_file_are_dropped(server, tmp_path):
    partial = tmp_path / "resnet50_alpha0.9.pth.part"
    partial.write_bytes(CONTENT + b"more")
    with pytest.raises(OSError, match="416"):
        download(server, tmp_path)
    assert download(server, tmp_path).read_bytes() == CONTENT


def test_a_page_in_the_place_of_the_file_is_refused(server, tmp_path):
    server.content = b"<html>Please log in</html>"
    with pytest.raises(OSError, match="no checkpoint"):
        download(server, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_that_changed_is_refused(server, tmp_path):
    path = download(server, tmp_path)
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(ValueError, match=r"SHA-256.*Remove both"):
        download(server, tmp_path)


def test_a_server_that_refuses_is_quoted(server, tmp_path):
    # The name of the file becomes a fragment, which is not sent.
    with pytest.raises(OSError, match="404"):
        download_checkpoint(
            NAME, cache_dir=tmp_path, url=server.url + "nothing#"
        )


def test_a_server_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OSError, match=r"127\.0\.0\.1:1/.*cannot be reached"):
        download_checkpoint(NAME, cache_dir=tmp_path, url="http://127.0.0.1:1/")


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"resnet50_alpha0\.75.*'resnet51'"):
        download_checkpoint("resnet51")
    with pytest.raises(FileNotFoundError, match="neither a file nor"):
        find_checkpoint(tmp_path / "absent.pth")


def test_every_published_name_has_its_backbone():
    from keras_vicregl.models.backbones import BACKBONES

    for name, run in PUBLISHED.items():
        assert name == f"{run.backbone}_alpha{run.alpha}"
        assert run.backbone in BACKBONES
