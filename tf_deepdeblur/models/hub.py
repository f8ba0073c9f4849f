"""Networks on the Hugging Face hub: ``hf://user/name``, or ``hf://user/name@revision`` for a branch, tag or commit.

A repository holds ``generator.keras`` and ``model.json``, which records its SHA-256. ``huggingface_hub`` (the extra
``hub``) downloads both into its cache, where they are found again without a network. It obeys the environment variables
``HF_TOKEN``, ``HF_HOME``, ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE``.
"""

import contextlib
import functools
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tf_deepdeblur.errors import InputError, first_line
from tf_deepdeblur.io.checksum import sha256

PREFIX = "hf://"
_NAME = re.compile(PREFIX + r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^@\s]+))?")
_TIMEOUT = 10  # seconds to wait for an answer


class Download(NamedTuple):
    """A network from the hub.

    Attributes:
        path: ``generator.keras`` in the cache; ``model.json`` lies beside it.
        commit: the commit that it is of, 40 hexadecimal digits.
        sha256: of the file, as ``model.json`` records it.
    """

    path: Path
    commit: str
    sha256: str


def download(name: str) -> Download:
    """Finds a network on the hub; downloads what is not in the cache yet, or uses the cache if there is no network.

    Args:
        name: ``hf://user/name`` or ``hf://user/name@revision``.

    Raises:
        InputError: naming the repository and the remedy, if there is no such repository, revision or file, the token is
            refused, the download is cut off, there is no network and nothing in the cache, the file is not the one
            that ``model.json`` was written for, or ``huggingface_hub`` is not installed.
    """
    match = _NAME.fullmatch(name)
    if not match:
        raise InputError(f"{name}: not a name on the hub; write hf://user/name or hf://user/name@revision")
    with _plain_errors(name) as huggingface_hub:
        fetch = functools.partial(
            huggingface_hub.hf_hub_download,
            match["repository"],
            local_files_only=not _is_online(huggingface_hub, match["repository"], match["revision"]),
        )
        commit = Path(fetch("model.json", revision=match["revision"])).parent.name
        path = Path(fetch("generator.keras", revision=commit))
    try:
        recorded = verify(path)
    except InputError as error:
        raise InputError(f"{name}: {error}; its folder in the cache is {path.parents[2]}") from error
    if recorded is None:
        raise InputError(f"{name}: its model.json records no SHA-256 of generator.keras; publish it again")
    return Download(path, commit, recorded)


def verify(path: Path) -> str | None:
    """Compares a published ``generator.keras`` with the SHA-256 that the ``model.json`` beside it records.

    Returns:
        The SHA-256; None if there is no ``model.json``, or none that records one, or the file has another name.

    Raises:
        InputError: naming the file, if it is another one.
    """
    card = path.with_name("model.json")
    if path.name != "generator.keras" or not card.is_file():
        return None
    try:
        recorded = json.loads(card.read_text(encoding="utf-8"))["sha256"]
    except (ValueError, KeyError, TypeError):
        return None
    if sha256(path) != recorded:
        raise InputError(
            f"{path}: does not have the SHA-256 that model.json records; remove both and get them again, and do not "
            "trust their source if that does not help"
        )
    return recorded


def upload(folder: str | os.PathLike, files: Sequence[str], repository: str) -> str:
    """Uploads files of a folder in one commit, to a repository that is made if there is none; returns the commit.

    Args:
        folder: the folder that ``export.publish`` wrote.
        files: the names of the files in it.
        repository: ``user/name``; needs a token that may write there.

    Raises:
        InputError: as ``download`` does; nothing is committed then.
    """
    match = _NAME.fullmatch(PREFIX + repository)
    if not match or match["revision"]:
        raise InputError(f"{repository}: not a repository; write user/name")
    with _plain_errors(PREFIX + repository) as huggingface_hub:
        api = huggingface_hub.HfApi()
        api.create_repo(repository, exist_ok=True)
        operations = [huggingface_hub.CommitOperationAdd(name, str(Path(folder, name))) for name in files]
        return api.create_commit(repository, operations, commit_message="Publish generator.keras").oid


def _is_online(huggingface_hub, repository, revision):
    """Whether the hub answers; raises the hub's error if it answers that there is no such repository or revision."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    try:
        huggingface_hub.HfApi().model_info(repository, revision=revision, timeout=_TIMEOUT)
    except (HTTPError, OSError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
            raise
        return False
    return True


@contextlib.contextmanager
def _plain_errors(name: str) -> Iterator:
    """Yields ``huggingface_hub``; its errors in the block become one line that starts with ``name``."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise InputError(f"{name}: needs huggingface_hub ({error}): pip install 'tf_deepdeblur[hub]'") from error
    try:
        yield huggingface_hub
    except errors.GatedRepoError as error:
        raise InputError(f"{name}: its owner admits only some users; ask for access on its page") from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(f"{name}: no such repository, or a private one that HF_TOKEN gives no access to") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{name}: the repository has no such branch, tag or commit") from error
    except errors.LocalEntryNotFoundError as error:
        raise InputError(f"{name}: the hub cannot be reached, and the cache does not hold it; try again") from error
    except errors.EntryNotFoundError as error:
        raise InputError(
            f"{name}: the repository lacks generator.keras or model.json; deepdeblur publish writes both"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise InputError(f"{name}: the hub refuses the token; check HF_TOKEN and what it may access") from error
        raise InputError(f"{name}: the hub answers with the error {status}; try again later") from error
    except (errors.HTTPError, OSError) as error:  # HTTPError is of the HTTP library that this huggingface_hub uses
        raise InputError(f"{name}: cut off ({first_line(error)}); start the same command again") from error
    except ValueError as error:  # a name that the hub cannot have, or an answer that is not a hub's
        raise InputError(f"{name}: {first_line(error)}") from error
