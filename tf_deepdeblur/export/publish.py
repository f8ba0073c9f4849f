"""A repository for the Hugging Face hub: the network, ``model.json``, and a model card with a picture."""

import json
import os
import re
import shutil
from pathlib import Path

import tf_deepdeblur
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.export import pictures
from tf_deepdeblur.export.bundle import metadata
from tf_deepdeblur.inference.deblurrer import Deblurrer
from tf_deepdeblur.io.atomic import atomic_write, write_atomically
from tf_deepdeblur.io.checksum import sha256
from tf_deepdeblur.io.images import side_by_side, write_image
from tf_deepdeblur.models.saving import find_model, load_generator

FILES = ("generator.keras", "model.json", "README.md", "picture.png")
_SCORES = {
    "psnr": ("PSNR (dB)", ".2f"),
    "ssim_gaussian": ("SSIM (gaussian)", ".4f"),
    "ssim_matlab3d": ("SSIM (matlab3d)", ".4f"),
    "mssim": ("MSSIM (Koehler's)", ".4f"),
}
_PICTURE_SIZE = (256, 384)


def publish(
    model: str | os.PathLike,
    output_dir: str | os.PathLike,
    *,
    repository: str | None = None,
    license: str = "mit",
    notes: str = "",
    training: dict | None = None,
    results_dir: str | os.PathLike | None = None,
) -> dict:
    """Writes the files of a repository, ``FILES``.

    Args:
        model: what ``find_model`` takes for a ``.keras`` file, which is copied as it is.
        output_dir: folder to write to; other files in it stay.
        repository: ``user/name`` on the hub, for the card.
        license: identifier of the weights' licence, as the hub lists them.
        notes: Markdown for the card, such as what the training data are and whose.
        training: what is known about the training, a dict for JSON with "flags" (values by name, as text), "held_out"
            (scores with "psnr" and "ssim") and "initial_weights" (a dict with "name" and "sha256"), any of them missing
            or None; or None, which takes it from the ``model.json`` beside a published network.
        results_dir: folder of an evaluation of this network, whose scores and picture sheet the card shows; without it
            the picture is of an embedded photograph.

    Returns:
        What ``model.json`` holds: ``bundle.metadata`` with "sha256" (of ``generator.keras``), "license", "blur_key"
        (of GOPRO_Large, otherwise None), "ssim" (the variant of the training's scores), "notes" and "results" (of the
        evaluation, or None).

    Raises:
        InputError: naming the file or folder, if the network or the results cannot be used, or ``output_dir`` cannot be
            written or is the network's own folder.
    """
    source, output_dir = find_model(model), Path(output_dir).expanduser()
    generator, digest = load_generator(source), sha256(source)
    if source.parent.resolve() == output_dir.resolve():
        raise InputError(f"{output_dir}: is the folder of the network itself; use another `output_dir`")
    if not re.fullmatch(r"[\w.-]+", license):
        raise InputError(f"`license` must be an identifier like mit or cc-by-4.0, got {license!r}")
    training = training or _training_beside(source)
    results = None if results_dir is None else _read_results(Path(results_dir).expanduser(), digest)
    flags = (training or {}).get("flags") or {}
    description = {
        **metadata(generator, training),
        "sha256": digest,
        "license": license,
        "blur_key": flags.get("blur_key") if flags.get("dataset") in ("gopro", "store") else None,
        "ssim": "gaussian",
        "notes": notes,
        "results": results,
    }
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        with atomic_write(output_dir / "generator.keras") as part:
            shutil.copyfile(source, part)
        _write_picture(output_dir / "picture.png", generator, results_dir)
        write_atomically(output_dir / "model.json", json.dumps(description, indent=2, allow_nan=False) + "\n")
        write_atomically(output_dir / "README.md", card(description, repository or "user/name"))
    except OSError as error:
        raise InputError(
            f"{error.filename or output_dir}: cannot be read or written ({error.strerror or error}); make room or use "
            "another `output_dir`"
        ) from error
    return description


def _write_picture(path, generator, results_dir):
    """The picture sheet of an evaluation, or what the network makes of a photograph."""
    if results_dir is None:
        photo = pictures.for_verification(size=_PICTURE_SIZE)[0]
        write_image(path, side_by_side([photo.blurry, Deblurrer(generator)(photo.blurry), photo.sharp]))
    else:
        write_atomically(path, (Path(results_dir).expanduser() / "sheet.png").read_bytes())


def card(description: dict, repository: str) -> str:
    """The model card: Markdown with the hub's metadata in front.

    Args:
        description: a result of ``publish``.
        repository: ``user/name``.
    """
    network, training, results = description["network"], description["training"] or {}, description["results"]
    flags, origin = training.get("flags") or {}, training.get("initial_weights")
    started_from = f"{origin['name']} (SHA-256 `{origin['sha256']}`)" if origin else "random weights, or not recorded"
    front = [
        "---",
        f"license: {description['license']}",
        "library_name: tf_deepdeblur",
        "pipeline_tag: image-to-image",
        "tags: [deblurring, image-restoration, keras, tensorflow]",
        "---",
    ]
    lines = [
        f"# {repository.split('/')[-1]}",
        "",
        "A network that restores photographs blurred by motion: Nah, Kim, Lee, [Deep Multi-scale Convolutional Neural",
        "Network for Dynamic Scene Deblurring](https://arxiv.org/abs/1612.02177) (CVPR 2017), in tf_deepdeblur.",
        "",
        *([description["notes"], ""] if description["notes"] else []),
        f"![{'best, median and worst image' if results else 'blurry, restored, sharp'}](picture.png)",
        "",
        "## Use",
        "",
        '`pip install "tf_deepdeblur[hub]"`, then `deepdeblur deblur --model hf://' + repository + " photo.jpg`, or",
        "",
        "```python",
        "import tf_deepdeblur as td",
        f'deblur = td.Deblurrer.load("hf://{repository}")',
        "restored = deblur(image)  # uint8 [H, W, 3] in and out, any size",
        "```",
        "",
        "## Scores",
        "",
        *_score_lines(training.get("held_out"), results, description["ssim"]),
        "",
        "## Network and training",
        "",
        "| | |",
        "|---|---|",
        f"| licence of the weights | {description['license']} |",
        f"| parameters | {network['parameters']:,} |",
        *(f"| {name} | {network[name]} |" for name in network if name != "parameters"),
        f"| training data | {flags.get('dataset', 'not recorded')} |",
        f"| blur key | {description['blur_key'] or ('does not apply' if flags else 'not recorded')} |",
        f"| started from | {started_from} |",
        f"| SHA-256 of generator.keras | `{description['sha256']}` |",
        f"| made with | tf_deepdeblur {tf_deepdeblur.__version__} |",
    ]
    if flags:
        lines += ["", "The flags of the training:", "", "```text", *(f"--{n}={v}" for n, v in flags.items()), "```"]
    return "\n".join([*front, "", *lines, ""])


def _score_lines(held_out, results, ssim):
    """The scores of an evaluation and of the training's validation frames, each with what it was measured on."""
    lines = []
    if results:
        blur_key = f", {results['blur_key']}" if results["blur_key"] else ""
        share = f"{results['num_images']} of {results['num_available']} images"
        lines += [f"{results['benchmark']}{blur_key}, {share}:", "", "| | blurry | restored |", "|---|---|---|"]
        lines += [
            f"| {title} | {results['blurry'][name]:{form}} | {results['mean'][name]:{form}} |"
            for name, (title, form) in _SCORES.items()
            if name in results["mean"]
        ]
    if held_out:
        lines += [""] if lines else []
        lines += [
            f"On the training's validation frames, after {held_out['step']:,} steps: PSNR {held_out['psnr']:.2f} dB, "
            f"SSIM ({ssim}) {held_out['ssim']:.4f}."
        ]
    return lines or ["None are recorded."]


def _training_beside(source):
    """What the ``model.json`` beside a network says about its training, or None; a damaged one says nothing."""
    try:
        description = json.loads(source.with_name("model.json").read_text(encoding="utf-8"))
        return description["training"] if description["sha256"] == sha256(source) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_results(folder, digest):
    """The summary of an evaluation's results.json, without its rows."""
    path = folder / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        summary = {
            name: results[name]
            for name in ("benchmark", "blur_key", "model", "num_images", "num_available", "mean", "blurry")
        }
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); `results_dir` is evaluate's `output_dir`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged; evaluate again") from error
    if f"sha256 {digest[:12]}" not in summary["model"]:
        raise InputError(f"{path}: holds the scores of another network ({summary['model']}); evaluate this one")
    return summary
