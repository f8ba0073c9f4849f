"""Networks by name, with the real client of the Hugging Face hub and a server on this machine."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.hub_server import Hub
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.models import hub as td_hub
from tf_deepdeblur.models.saving import load_generator

# Looked for, not imported: that takes half a second wherever tests are collected.
pytestmark = pytest.mark.skipif(find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed")

CONTENT = b"the network, version 1" * 10_000
CODE = """
import sys
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.models import hub
try:
    print(*getattr(hub, sys.argv[1])(*eval(sys.argv[2])))
except InputError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture
def call(hub, tmp_path):
    """Calls a function of ``models.hub`` in a process of its own, for the client reads its variables at import."""

    def run(function, *arguments, **variables):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        ours = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_VERBOSITY": "error", **variables}
        command = [sys.executable, "-c", CODE, function, repr(arguments)]
        return subprocess.run(command, env=clean | ours, capture_output=True, text=True, timeout=60)

    return run


def published(content=CONTENT, **changes):
    return {
        "generator.keras": content,
        "model.json": json.dumps({"sha256": hashlib.sha256(content).hexdigest(), **changes}).encode(),
    }


def refused(finished):
    """The one line of a call that failed."""
    assert (finished.returncode, finished.stdout) == (1, "")
    (line,) = finished.stderr.splitlines()
    return line


NO_NETWORK = {"HF_ENDPOINT": "http://127.0.0.1:9"}  # nothing listens there


@pytest.mark.slow
def test_download_and_then_no_network(call, hub):
    commit = hub.commit("user/name", published())
    first = call("download", "hf://user/name")
    path, *facts = first.stdout.split()
    assert Path(path).read_bytes() == CONTENT
    assert facts == [commit, hashlib.sha256(CONTENT).hexdigest()]
    hub.requests.clear()
    for variables in (NO_NETWORK, {"HF_HUB_OFFLINE": "1"}, {}):
        again = call("download", "hf://user/name", **variables)
        assert (again.stdout, again.stderr) == (first.stdout, "")
    assert not [request for request in hub.requests if request.startswith("GET") and "generator" in request]


@pytest.mark.slow
def test_a_server_that_fails_is_like_no_network(call, hub):
    hub.commit("user/name", published())
    first = call("download", "hf://user/name")
    hub.is_down = True
    assert call("download", "hf://user/name").stdout == first.stdout


@pytest.mark.slow
def test_revisions(call, hub):
    old = hub.commit("user/name", published())
    hub.commit("user/name", published(b"an experiment"), branch="v2")
    new = hub.commit("user/name", published(b"version 2"))
    contents = {
        revision: Path(call("download", f"hf://user/name{revision}").stdout.split()[0]).read_bytes()
        for revision in ("", "@main", "@v2", f"@{old}", f"@{new}")
    }
    assert contents == {
        "": b"version 2",
        "@main": b"version 2",
        "@v2": b"an experiment",
        f"@{old}": CONTENT,
        f"@{new}": b"version 2",
    }
    assert "no such branch, tag or commit" in refused(call("download", "hf://user/name@v3"))


@pytest.mark.slow
def test_a_moved_branch_is_downloaded_again(call, hub):
    hub.commit("user/name", published())
    call("download", "hf://user/name")
    commit = hub.commit("user/name", published(b"version 2"))
    assert call("download", "hf://user/name").stdout.split()[1] == commit


def test_other_bytes_than_the_recorded_ones_are_refused(call, hub):
    hub.commit("user/name", {**published(), "generator.keras": b"something else"})
    assert "does not have the SHA-256 that model.json records" in refused(call("download", "hf://user/name"))


@pytest.mark.slow
def test_damage_in_the_cache_is_found(call, hub):
    hub.commit("user/name", published())
    Path(call("download", "hf://user/name").stdout.split()[0]).write_bytes(b"damaged")
    folder = Path(refused(call("download", "hf://user/name")).rpartition(" ")[2])
    assert folder.name == "models--user--name"
    shutil.rmtree(folder)
    assert Path(call("download", "hf://user/name").stdout.split()[0]).read_bytes() == CONTENT


def test_a_copied_repository_is_compared_too(tmp_path):
    for name, content in published(b"no archive").items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="not a complete generator"):
        load_generator(tmp_path)
    (tmp_path / "generator.keras").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"generator\.keras: does not have the SHA-256 that model\.json records"):
        load_generator(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["generator.keras", "model.json"])
def test_a_missing_file(call, hub, missing):
    files = published()
    del files[missing]
    hub.commit("user/name", files)
    assert "lacks generator.keras or model.json" in refused(call("download", "hf://user/name"))


@pytest.mark.slow
@pytest.mark.parametrize("card", [b"{}", b"[]", b"\xff", b"not JSON"])
def test_a_card_without_the_sha256(call, hub, card):
    hub.commit("user/name", {**published(), "model.json": card})
    assert "records no SHA-256" in refused(call("download", "hf://user/name"))


@pytest.mark.slow
def test_no_such_repository(call):
    assert "hf://user/name: no such repository" in refused(call("download", "hf://user/name"))


@pytest.mark.slow
def test_tokens(call, hub):
    hub.commit("user/name", published())
    hub.private.add("user/name")
    assert "a private one that HF_TOKEN gives no access to" in refused(call("download", "hf://user/name"))
    assert "refuses the token" in refused(call("download", "hf://user/name", HF_TOKEN="hf_bad"))
    assert call("download", "hf://user/name", HF_TOKEN="hf_good").returncode == 0


@pytest.mark.slow
def test_no_network_and_nothing_cached(call):
    assert "cannot be reached" in refused(call("download", "hf://user/name", **NO_NETWORK))


@pytest.mark.slow
def test_a_download_that_is_cut_off_once_is_completed(call, hub):
    hub.commit("user/name", published())
    hub.cut_off_after, hub.num_cuts = 1000, 1
    finished = call("download", "hf://user/name")
    assert Path(finished.stdout.split()[0]).read_bytes() == CONTENT


@pytest.mark.slow
def test_a_download_that_is_always_cut_off_leaves_nothing_half(call, hub):
    hub.commit("user/name", published())
    hub.cut_off_after, hub.num_cuts = 1000, 99
    assert "hf://user/name: cut off" in refused(call("download", "hf://user/name"))
    assert "does not hold it" in refused(call("download", "hf://user/name", **NO_NETWORK))
    hub.num_cuts = 0
    assert Path(call("download", "hf://user/name").stdout.split()[0]).read_bytes() == CONTENT


@pytest.mark.slow
def test_upload_and_download(call, hub, tmp_path):
    for name, content in published().items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "private.txt").write_text("not for the hub")
    arguments = (str(tmp_path), ["generator.keras", "model.json"], "user/new")
    assert "refuses the token" in refused(call("upload", *arguments, HF_TOKEN="hf_bad"))
    for _ in range(2):  # the second time the repository exists
        finished = call("upload", *arguments, HF_TOKEN="hf_good")
        assert finished.returncode == 0, finished.stderr
    path, commit, _ = call("download", "hf://user/new").stdout.split()
    assert Path(path).read_bytes() == CONTENT
    assert set(hub.commits["user/new", commit]) == {"generator.keras", "model.json"}


@pytest.mark.parametrize("name", ["hf://", "hf://user", "hf://user/name@", "hf://user/name/file", "hf://a/b@c@d"])
def test_names_that_are_none(name):
    with pytest.raises(InputError, match="write hf://user/name or hf://user/name@revision"):
        td_hub.download(name)


@pytest.mark.parametrize("repository", ["user", "hf://user/name", "user/name@main"])
def test_repositories_that_are_none(repository):
    with pytest.raises(InputError, match=f"{repository}: not a repository; write user/name"):
        td_hub.upload("folder", [], repository)


@pytest.mark.slow
def test_a_name_that_the_hub_cannot_have(call):
    assert refused(call("download", "hf://user/a--b")).startswith("hf://user/a--b: ")


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"needs huggingface_hub .*: pip install 'tf_deepdeblur\[hub\]'"):
        td_hub.download("hf://user/name")
