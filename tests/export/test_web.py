"""The files of an exported page, LiteRT.js from npm, and the server."""

import base64
import hashlib
import io
import re
import subprocess
import tarfile
import threading
import urllib.error
import urllib.request

import pytest

from tests.export.conftest import random_generator
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import tiles, web, web_runtime
from tf_deepdeblur.export.bundle import metadata
from tf_deepdeblur.export.web_runtime import Package, read_runtime
from tf_deepdeblur.export.web_server import make_server


def archive(**members):
    """An npm archive of text files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as packed:
        for name, text in members.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            packed.addfile(entry, io.BytesIO(text.encode()))
    return file.getvalue()


@pytest.fixture
def archives(monkeypatch, tmp_path):
    """{package: bytes of its archive}, of two small packages in place of the real ones; with a cache of its own."""
    binaries = {f"wasm/{name}.{suffix}": name for name in web_runtime._WASM for suffix in ("js", "wasm")}
    script = 'import { createWasmLib } from "@litertjs/wasm-utils";\n//# sourceMappingURL=index.js.map\n'
    made = {}
    for attribute, members in (("CORE", {"dist/index.js": script, **binaries}), ("UTILS", {"dist/index.js": "x"})):
        content = archive(**members)
        digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
        package = Package(getattr(web_runtime, attribute).name, "1.0.0", digest)
        monkeypatch.setattr(web_runtime, attribute, package)
        made[package] = content
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return made


@pytest.fixture
def offline(monkeypatch):
    """No npm, and no network."""

    def fail(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(urllib.request, "urlopen", fail)


def write(folder, archives):
    folder.mkdir()
    for package, content in archives.items():
        (folder / package.archive).write_bytes(content)
    return folder


def test_a_runtime_from_a_folder(archives, offline, tmp_path):
    files = read_runtime(write(tmp_path / "npm", archives))
    assert set(files) == {"index.js", "wasm-utils.js", *(f"{n}.{s}" for n in web_runtime._WASM for s in ("js", "wasm"))}
    assert b'from "./wasm-utils.js"' in files["index.js"]
    assert b"sourceMappingURL" not in files["index.js"]


def test_what_was_fetched_is_kept(archives, offline, monkeypatch):
    asked = []
    with monkeypatch.context() as online:
        online.setattr(web_runtime, "_fetch", lambda package: asked.append(package) or archives[package])
        files = read_runtime()
    assert read_runtime() == files
    assert asked == list(archives)


def test_without_a_network_the_remedy_is_named(archives, offline):
    with pytest.raises(InputError, match=r"@litertjs/core 1\.0\.0 cannot .*no route.*run npm pack .* as `web_runtime`"):
        read_runtime()


def test_npm_that_fails_is_quoted(archives, monkeypatch):
    def fail(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr="npm error code E404\nnpm error 404 Not Found")

    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("subprocess.run", fail)
    with pytest.raises(InputError, match="E404"):
        read_runtime()


def test_another_archive_is_refused(archives, offline, monkeypatch, tmp_path):
    folder = write(tmp_path / "npm", {package: content + b"\0" for package, content in archives.items()})
    with pytest.raises(InputError, match=r"litertjs-core-1.0.0.tgz: does not have the SHA-512"):
        read_runtime(folder)
    monkeypatch.setattr(web_runtime, "_fetch", lambda package: archives[package][:-1])
    with pytest.raises(InputError, match="from the registry: does not have the SHA-512"):
        read_runtime()
    assert not (tmp_path / "cache").exists()


def test_a_damaged_cache_is_fetched_again(archives, monkeypatch, tmp_path):
    monkeypatch.setattr(web_runtime, "_fetch", archives.get)
    files = read_runtime()
    for path in (tmp_path / "cache").rglob("*.tgz"):
        path.write_bytes(b"half")
    assert read_runtime() == files


def test_a_missing_archive_is_named(archives, tmp_path):
    with pytest.raises(InputError, match=r"litertjs-core-1.0.0.tgz: no such file; `web_runtime` holds what npm pack"):
        read_runtime(tmp_path)


@pytest.fixture(scope="module")
def tiles_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web") / "tiles_none"
    generator = random_generator(num_scales=1)
    training = {"flags": {"dataset": "pairs"}, "held_out": {"step": 1200, "psnr": 30.5}, "initial_weights": None}
    tiles.export_tiles(generator, folder, metadata(generator, training))
    return folder


@pytest.mark.slow
def test_a_page_is_complete(tiles_folder, tmp_path):
    page = tmp_path / "web"
    for name in ("first", "<b>&"):  # the second replaces the first
        web.export_web(tiles_folder, page, {"index.js": b"runtime"}, name)
    index = (page / "index.html").read_text()
    assert "{{" not in index
    assert "&lt;b&gt;&amp;: 1 scales" in index
    assert "pairs, 1,200 steps, then 30.50 dB" in index
    assert "default-src &#x27;none&#x27;" in index
    linked = re.findall(r'(?:src|href)="([^"]+)"', index)
    imported = [name for path in page.glob("*.js") for name in re.findall(r'from "\./([^"]+)"', path.read_text())]
    assert [name for name in {*linked, *imported} if not (page / name).is_file()] == []
    assert (page / "litert" / "index.js").read_bytes() == b"runtime"
    assert {path.name for path in (page / "model").iterdir()} == {path.name for path in tiles_folder.iterdir()}
    for owner in ("tf_deepdeblur", "XNNPACK", "Apache License", "Eigen"):
        assert owner in (page / "licences.txt").read_text()


def test_another_folder_is_not_replaced(tmp_path):
    with pytest.raises(InputError, match="exists but is not an exported page"):
        web.export_web(tmp_path / "tiles_int8", tmp_path, {}, "name")


@pytest.fixture
def server(tmp_path):
    (tmp_path / "index.html").write_text("page")
    (tmp_path / "litert").mkdir()
    (tmp_path / "litert" / "a.wasm").write_bytes(b"wasm")
    with make_server(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{path}", timeout=10) as response:
        return response.read(), response.headers


def test_every_file_has_the_headers_for_threads(server):
    for path, kind in (("", "text/html"), ("litert/a.wasm", "application/wasm")):
        content, headers = get(server, path)
        assert content
        assert headers["Content-Type"] == kind
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert "connect-src 'self'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["litert/", "../secret", "%2e%2e/secret", "nothing"])
def test_only_files_of_the_page_are_served(server, tmp_path, path):
    (tmp_path.parent / "secret").write_text("secret")
    with pytest.raises(urllib.error.HTTPError) as error:
        get(server, path)
    with error.value as answer:
        assert answer.code == 404


def test_mistakes_with_the_server_are_one_line(server, tmp_path):
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(InputError, match=r"holds no index\.html"):
        make_server(tmp_path / "litert")
    with pytest.raises(InputError, match=f"127.0.0.1:{server.server_port}: cannot be listened on"):
        make_server(tmp_path, port=server.server_port)
