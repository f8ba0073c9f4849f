"""A page that restores photographs in the visitor's browser, from the files of any static web server.

``OUT/web/`` holds the page (the files of ``page/``, as they are), ``model/`` (exported tiles), ``litert/`` (LiteRT.js),
``example/`` (a blurry picture and what Python makes of it, which a GPU is tried with) and ``licences.txt``.
"""

import html
import importlib.metadata
import json
import os
import shutil
from pathlib import Path

import tensorflow as tf

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import pictures, web_runtime
from tf_deepdeblur.export.web_server import CONTENT_SECURITY_POLICY
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.io.atomic import atomic_folder
from tf_deepdeblur.io.images import write_image

_PAGE = Path(__file__).parent / "page"
_EXAMPLE_SIZE = (256, 384)
_QUANTIZED = {"none": "32-bit floating point", "float16": "16-bit weights", "int8": "8-bit integers"}


def export_web(
    tiles: str | os.PathLike,
    folder: str | os.PathLike,
    runtime: dict[str, bytes],
    name: str,
    trained_on: str | None = None,
) -> None:
    """Writes the page; the folder is replaced atomically.

    Args:
        tiles: the folder of exported tiles that the page runs.
        folder: the folder to write. A page that exists there is replaced, anything else is not.
        runtime: result of ``web_runtime.read_runtime``.
        name: the network's, for visitors.
        trained_on: what to say about its training if ``model.json`` says nothing.

    Raises:
        InputError: if ``tiles`` cannot be used, or ``folder`` holds something else.
        OSError: if the folder cannot be written.
    """
    tiles, folder = Path(tiles), Path(folder)
    require_replaceable(folder)
    model = json.loads((tiles / "model.json").read_text(encoding="utf-8"))
    blurry = pictures.for_verification(size=_EXAMPLE_SIZE)[0].blurry
    restored = Deblurrer.load(tiles)(blurry)
    with atomic_folder(folder) as part:
        shutil.copytree(_PAGE, part, dirs_exist_ok=True)
        shutil.copytree(tiles, part / "model")
        (part / "litert").mkdir()
        for file, content in runtime.items():
            (part / "litert" / file).write_bytes(content)
        (part / "example").mkdir()
        write_image(part / "example" / "blurry.png", blurry)
        write_image(part / "example" / "restored.png", restored)
        texts = {"index.html": _index(model, name, trained_on), "licences.txt": _licences()}
        for file, text in texts.items():
            (part / file).write_text(text, encoding="utf-8")


def require_replaceable(folder: Path) -> None:
    """Raises InputError naming the folder, if it exists and is not a page that may be replaced."""
    if folder.exists() and not ((folder / "worker.js").is_file() and (folder / "model" / "model.json").is_file()):
        raise InputError(f"{folder}: exists but is not an exported page; remove it or use another `output_dir`")


def _index(model, name, trained_on):
    """index.html for a network: {{CSP}} and {{NETWORK}} are filled in."""
    network, training = model["network"], model["training"] or {}
    held_out = training.get("held_out")
    score = f"{held_out['step']:,} steps, then {held_out['psnr']:.2f} dB on validation pictures" if held_out else None
    data = (training.get("flags") or {}).get("dataset")
    rows = {
        "Network": f"{name}: {network['num_scales']} scales of {network['num_res_blocks']} blocks with "
        f"{network['filters']} filters, {network['parameters']:,} parameters",
        "Trained on": ", ".join(filter(None, (data, score))) or trained_on or "not recorded",
        "Computes in": _QUANTIZED[model["quantize"]],
        "SHA-256 of the weights": model["weights_sha256"],
        "Made with": f"tf_deepdeblur {model['version']}, LiteRT.js {web_runtime.CORE.version}",
    }
    described = "".join(f"<dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd>" for key, value in rows.items())
    text = (_PAGE / "index.html").read_text(encoding="utf-8")
    return text.replace("{{CSP}}", html.escape(CONTENT_SECURITY_POLICY)).replace("{{NETWORK}}", described)


def _licences():
    """The licences of all that the page consists of; ``page/licences.txt`` has its own and the short ones."""
    own = (_PAGE / "licences.txt").read_text(encoding="utf-8")
    apache = importlib.metadata.distribution("ai-edge-litert").read_text("licenses/LICENSE")
    notices = (Path(tf.__file__).parent / "THIRD_PARTY_NOTICES.txt").read_text(encoding="utf-8")
    rule = "=" * 80
    return f"{own}\n{rule}\n3. The Apache License 2.0\n\n{apache}\n{rule}\n4. Notices of TensorFlow\n\n{notices}"
