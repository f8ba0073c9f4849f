"""The folders of the test sets as lists of one type, Sample; images are read lazily.

=============  ==========================================================================================
name           what ``data_dir`` holds
=============  ==========================================================================================
gopro          GOPRO_Large: ``test/GOPRxxxx_yy_zz/{blur,blur_gamma,sharp}/NNNNNN.png``
reds           REDS: ``val/val_blur/NNN/NNNNNNNN.png`` and ``val/val_sharp/...``
pairs          ``blur/`` and ``sharp/`` with files of the same names
kohler         ``Blurry{i}_{k}.png`` (also in ``BlurryImages/``), and the references, either as
               ``Image{i}/Kernel{k}/GroundTruth{i}_{k}_{n}.png`` or as
               ``groundTruthMatFiles/GroundTruth{i}_{k}.mat``
lai            Lai et al.'s 100 real images, ``real_dataset/*.jpg``: there are no sharp ones
lai_uniform    Lai et al.'s synthetic images: ``synthetic_dataset/uniform/NAME_kernel_0N.png`` and
               ``synthetic_dataset/ground_truth/NAME.png``
lai_nonuniform the same with ``nonuniform/NAME_gyro_0N.png``
realblur_j     RealBlur-J: ``RealBlur_J_test_list.txt`` and the files it names
realblur_r     RealBlur-R: ``RealBlur_R_test_list.txt`` and the files it names
=============  ==========================================================================================

RealBlur's authors align each output before they compare, and Lai et al. search the best sub-pixel shift. Neither is
done here: on these sets compare models with each other, not with published tables.
"""

import dataclasses
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

import numpy as np
from scipy import io

from tf_deepdeblur.config import WHERE_TO_GET
from tf_deepdeblur.data.pairs import check_pairs, find_pairs
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io import images

BENCHMARKS = ("gopro", "reds", "pairs", "kohler", "lai", "lai_uniform", "lai_nonuniform", "realblur_j", "realblur_r")
_UNSCORED_FRAMES = {"1_3": {30, 199, 200}}  # left out by the Koehler data set's own code, counted from 1
_MAT_ERRORS = (OSError, ValueError, TypeError, NotImplementedError, zlib.error, io.matlab.MatReadError)


@dataclasses.dataclass(frozen=True)
class Sample:
    """One blurry image of a test set.

    Attributes:
        name: unique in its test set, without suffix; slashes separate folders.
        blurry: the image file.
        references: sharp image files, or one ``.mat`` file that holds them all; empty if no sharp image exists.
    """

    name: str
    blurry: Path
    references: tuple[Path, ...] = ()


@dataclasses.dataclass(frozen=True)
class TestSet:
    """Blurry images with their references.

    Attributes:
        name: one of BENCHMARKS, or any other name for images of your own.
        samples: the images, in a fixed order.
        blur_key: "blur_gamma" or "blur" for gopro, None for the others; it is written beside the scores.
    """

    name: str
    samples: Sequence[Sample]
    blur_key: str | None = None


def load(name: str, data_dir: str | os.PathLike, blur_key: str = "blur_gamma") -> TestSet:
    """Finds the images of a test set.

    Args:
        name: one of BENCHMARKS; the module's docstring says what each expects in ``data_dir``.
        data_dir: the data set's folder.
        blur_key: "blur_gamma" (the paper's) or "blur"; only gopro has both.

    Raises:
        InputError: naming what is missing and the expected layout.
    """
    data_dir = Path(data_dir).expanduser()
    if name in BENCHMARKS and not data_dir.is_dir():
        where = WHERE_TO_GET.get(name, "; docs/evaluate.md shows its layout")
        raise InputError(f"{data_dir}: no such folder; give the folder of the {name} data set{where}")
    match name:
        case "gopro" | "reds" | "pairs":
            samples = paired(name, data_dir, blur_key)
        case "kohler":
            samples = kohler(data_dir)
        case "lai":
            samples = lai_real(data_dir)
        case "lai_uniform" | "lai_nonuniform":
            samples = lai_synthetic(data_dir, name.removeprefix("lai_"))
        case "realblur_j" | "realblur_r":
            samples = realblur(data_dir, name[-1].upper())
        case _:
            raise InputError(f"`benchmark` must be one of {', '.join(BENCHMARKS)}, got {name!r}")
    if not samples:
        raise InputError(f"{data_dir}: no images of the {name} data set in it; docs/evaluate.md shows its layout")
    return TestSet(name, samples, blur_key if name == "gopro" else None)


def open_references(sample: Sample) -> Sequence[np.ndarray]:
    """Returns the sharp images of a sample, uint8 [H, W, 3]; image files are read when they are indexed.

    Raises:
        InputError: naming the file, if it cannot be read, is not uint8, or does not have the blurry image's size.
    """
    size = images.image_size(sample.blurry)
    if sample.references and sample.references[0].suffix == ".mat":
        return _frames_of_mat(sample.references[0], size)
    return _ImageFiles(sample.references, size)


def paired(dataset: str, data_dir: Path, blur_key: str) -> list[Sample]:
    """The evaluation split of a data set of pairs, found and checked as training does it."""
    pairs = find_pairs(dataset, data_dir, "validation", blur_key)
    check_pairs(pairs)
    return [Sample(str(PurePath(pair.name).with_suffix("")), pair.blurry, (pair.sharp,)) for pair in pairs]


def kohler(data_dir: Path) -> list[Sample]:
    """The Koehler data set: 4 scenes x 12 trajectories with some 199 references each, or an error."""
    blurry = _first_folder(data_dir, ("BlurryImages", "blurryImage", "."), "Blurry1_1.png")
    return [
        Sample(f"Blurry{i}_{k}", _existing(blurry / f"Blurry{i}_{k}.png"), _kohler_references(data_dir, i, k))
        for i in range(1, 5)
        for k in range(1, 13)
    ]


def lai_real(data_dir: Path) -> list[Sample]:
    """Lai et al.'s real photographs, without references."""
    folder = data_dir / "real_dataset"
    return [Sample(path.stem, path) for path in _image_files(folder if folder.is_dir() else data_dir)]


def lai_synthetic(data_dir: Path, kind: str) -> list[Sample]:
    """Lai et al.'s synthetic images; ``kind`` is "uniform" or "nonuniform"."""
    folder = _first_folder(data_dir, ("synthetic_dataset", "."), kind)
    samples = []
    for path in _image_files(folder / kind):
        name = re.sub(r"_(kernel|gyro)_\d+$", "", path.stem)
        truth = _existing(folder / "ground_truth" / f"{name}{path.suffix}", path)
        samples.append(Sample(path.stem, path, (truth,)))
    return samples


def realblur(data_dir: Path, camera: str) -> list[Sample]:
    """RealBlur's test list; ``camera`` is "J" (the camera's JPEG) or "R" (raw)."""
    listing = _existing(data_dir / f"RealBlur_{camera}_test_list.txt")
    samples = []
    for line in listing.read_text().splitlines():
        names = line.split()
        if not names:
            continue
        if len(names) != 2:
            raise InputError(f"{listing}: a line must be '<sharp> <blurry>', got {line!r}; use the original list")
        sharp, blurry = (_existing(listing.parent / name, listing) for name in names)
        samples.append(Sample(f"{blurry.parent.parent.name}/{blurry.stem}", blurry, (sharp,)))
    return samples


class _ImageFiles:
    """Sharp image files as a sequence of arrays."""

    def __init__(self, paths, size):
        self._paths, self._size = paths, size

    def __len__(self):
        return len(self._paths)

    def __getitem__(self, index):
        return _sized(images.read_image(self._paths[index]), self._size, self._paths[index])


def _frames_of_mat(path, size):
    """The frames of a Koehler ``.mat`` file, variable GroundTruth, uint8 [H, W, 3, N]."""
    try:
        truth = io.loadmat(path, variable_names=["GroundTruth"])["GroundTruth"]
    except KeyError:
        raise InputError(f"{path}: holds no variable GroundTruth; use the data set's original file") from None
    except _MAT_ERRORS as error:
        raise InputError(f"{path}: cannot be read ({error}); use the data set's PNG references instead") from error
    if truth.dtype != np.uint8 or truth.ndim != 4:
        raise InputError(f"{path}: GroundTruth must be uint8 [H, W, 3, N], got {truth.dtype} {truth.shape}")
    numbers = _scored(path.stem.removeprefix("GroundTruth"), range(1, truth.shape[3] + 1))
    return [_sized(truth[..., number - 1], size, path) for number in numbers]


def _kohler_references(data_dir, scene, kernel):
    identity = f"{scene}_{kernel}"
    mat = data_dir / "groundTruthMatFiles" / f"GroundTruth{identity}.mat"
    if mat.is_file():
        return (mat,)
    folder = data_dir / f"Image{scene}" / f"Kernel{kernel}"
    stem = f"GroundTruth{identity}_"
    numbered = {path.stem.removeprefix(stem): path for path in folder.glob(f"{stem}*.png")}
    frames = {int(number): path for number, path in numbered.items() if number.isdecimal()}
    if not frames:
        raise InputError(f"{folder}: no references {stem}1.png, ... in it and no {mat}; unpack the data set's truth")
    scored = _scored(identity, range(1, max(frames) + 1))
    missing = [number for number in scored if number not in frames]
    if missing:
        raise InputError(f"{folder / f'{stem}{missing[0]}.png'}: no such file; unpack the data set's truth again")
    return tuple(frames[number] for number in scored)


def _scored(identity: str, numbers: Iterable[int]) -> list[int]:
    return [number for number in numbers if number not in _UNSCORED_FRAMES.get(identity, ())]


def _sized(image, size, path):
    if image.shape != (*size, 3):
        raise InputError(f"{path}: has shape {image.shape}, its blurry image {(*size, 3)}; use matching files")
    return image


def _image_files(folder):
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in images.IMAGE_SUFFIXES)


def _first_folder(data_dir, candidates, content):
    for name in candidates:
        if (data_dir / name / content).exists():
            return data_dir / name
    raise InputError(f"{data_dir}: no {content} in it; give the folder into which the data set was unpacked")


def _existing(path, wanted_by=None):
    if not path.is_file():
        why = f"which {wanted_by} needs" if wanted_by else "which belongs to the data set"
        raise InputError(f"{path}: no such file, {why}; unpack the data set again")
    return path
