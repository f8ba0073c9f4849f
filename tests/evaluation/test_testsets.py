import numpy as np
import pytest
from scipy import io

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.evaluation import testsets
from tf_deepdeblur.io.images import read_image, write_image

KOHLER = [(scene, kernel) for scene in range(1, 5) for kernel in range(1, 13)]


def picture(level, height=6, width=8):
    return np.full((height, width, 3), level, np.uint8)


def write(path, level=0, **size):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, picture(level, **size))


def references(sample):
    return [int(image[0, 0, 0]) for image in testsets.open_references(sample)]


def kohler_tree(root, frames=3, special=()):
    """All 48 images, each with ``frames`` references of grey level n; the pair (1, 3) has the frames ``special``."""
    for scene, kernel in KOHLER:
        write(root / "BlurryImages" / f"Blurry{scene}_{kernel}.png")
        folder = root / f"Image{scene}" / f"Kernel{kernel}"
        numbers = special if special and (scene, kernel) == (1, 3) else range(1, frames + 1)
        for number in numbers:
            write(folder / f"GroundTruth{scene}_{kernel}_{number}.png", level=number)
    return root


def use_mat_files(root, frames=200, dtype=np.uint8):
    """Gives (1, 2) and (1, 3) their references in the other layout."""
    levels = np.arange(1, frames + 1, dtype=dtype)
    for kernel in (2, 3):
        path = root / "groundTruthMatFiles" / f"GroundTruth1_{kernel}.mat"
        path.parent.mkdir(exist_ok=True)
        io.savemat(path, {"GroundTruth": np.broadcast_to(levels, (6, 8, 3, frames))}, do_compression=True)


def gopro_tree(root):
    for number in (1, 2):
        for level, kind in ((1, "blur"), (2, "blur_gamma"), (3, "sharp")):
            write(root / "test" / "GOPR0384_11_00" / kind / f"00000{number}.png", level)
            write(root / "train" / "GOPR0372_07_00" / kind / f"00000{number}.png", 9)


def reds_tree(root):
    for number in (0, 1):
        write(root / "val" / "val_blur" / "003" / f"0000000{number}.png", 1)
        write(root / "val" / "val_sharp" / "003" / f"0000000{number}.png", 3)


def pairs_tree(root):
    for name in ("a", "b"):
        write(root / "blur" / f"{name}.png", 1)
        write(root / "sharp" / f"{name}.png", 3)


def lai_tree(root):
    for name in ("boat1", "wheel"):
        write(root / "real_dataset" / f"{name}.jpg")
    for level, name in ((1, "people_01"), (2, "text_02")):
        write(root / "synthetic_dataset" / "ground_truth" / f"{name}.png", level)
        for number in (1, 2):
            write(root / "synthetic_dataset" / "uniform" / f"{name}_kernel_0{number}.png", 9)
            write(root / "synthetic_dataset" / "nonuniform" / f"{name}_gyro_0{number}.png", 9)


def realblur_tree(root, camera="J", folder="RealBlur-J_ECC_IMCORR_centroid_itensity_ref"):
    lines = []
    for scene, number in (("scene004", 1), ("scene004", 2), ("scene010", 1)):
        names = [f"{folder}/{scene}/{kind}/{kind}_{number}.png" for kind in ("gt", "blur")]
        for level, name in zip((3, 1), names, strict=True):
            write(root / name, level)
        lines.append(" ".join(names) + " ")
    (root / f"RealBlur_{camera}_test_list.txt").write_text("\n".join(lines))


TREES = {"gopro": gopro_tree, "reds": reds_tree, "pairs": pairs_tree}


@pytest.mark.parametrize("benchmark", TREES)
def test_pairs_have_one_reference_of_the_evaluation_split(tmp_path, benchmark):
    TREES[benchmark](tmp_path)
    samples = testsets.load(benchmark, tmp_path).samples
    assert len(samples) == 2
    assert [references(sample) for sample in samples] == [[3], [3]]
    assert samples[0].name == str(samples[0].blurry.relative_to(tmp_path).with_suffix(""))


@pytest.mark.parametrize(("blur_key", "level"), [("blur", 1), ("blur_gamma", 2)])
def test_gopro_takes_the_blurry_images_of_its_key(tmp_path, blur_key, level):
    gopro_tree(tmp_path)
    test_set = testsets.load("gopro", tmp_path, blur_key)
    assert {int(read_image(sample.blurry)[0, 0, 0]) for sample in test_set.samples} == {level}
    assert (test_set.name, test_set.blur_key) == ("gopro", blur_key)


def test_kohler_lists_48_images_with_numbered_references(tmp_path):
    samples = testsets.load("kohler", kohler_tree(tmp_path, frames=11)).samples
    assert [sample.name for sample in samples] == [f"Blurry{scene}_{kernel}" for scene, kernel in KOHLER]
    assert references(samples[47]) == list(range(1, 12))


def test_kohler_takes_blurry_images_beside_the_references(tmp_path):
    kohler_tree(tmp_path)
    for path in (tmp_path / "BlurryImages").iterdir():
        path.rename(tmp_path / path.name)
    assert len(testsets.load("kohler", tmp_path).samples) == 48


def test_kohler_leaves_out_the_frames_that_its_own_code_leaves_out(tmp_path):
    present = [number for number in range(1, 200) if number != 30]
    samples = testsets.load("kohler", kohler_tree(tmp_path, special=present)).samples
    assert references(samples[2]) == [*range(1, 30), *range(31, 199)]


def test_kohler_mat_files_hold_the_same_frames(tmp_path):
    use_mat_files(kohler_tree(tmp_path))
    samples = testsets.load("kohler", tmp_path).samples
    assert references(samples[1]) == list(range(1, 201))
    assert references(samples[2]) == [*range(1, 30), *range(31, 199)]
    assert references(samples[3]) == [1, 2, 3]


def test_kohler_without_references_names_their_folder(tmp_path):
    kohler_tree(tmp_path)
    for path in (tmp_path / "Image2" / "Kernel5").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"Image2/Kernel5.*GroundTruth2_5_1\.png.*unpack"):
        testsets.load("kohler", tmp_path)


def test_kohler_with_a_hole_in_the_trajectory_names_the_frame(tmp_path):
    kohler_tree(tmp_path)
    (tmp_path / "Image4" / "Kernel1" / "GroundTruth4_1_2.png").unlink()
    with pytest.raises(InputError, match=r"GroundTruth4_1_2\.png.*again"):
        testsets.load("kohler", tmp_path)


def test_kohler_without_a_blurry_image_names_it(tmp_path):
    (kohler_tree(tmp_path) / "BlurryImages" / "Blurry3_7.png").unlink()
    with pytest.raises(InputError, match=r"Blurry3_7\.png"):
        testsets.load("kohler", tmp_path)


def test_kohler_mat_file_that_is_not_uint8_is_refused(tmp_path):
    use_mat_files(kohler_tree(tmp_path), frames=3, dtype=np.float64)
    with pytest.raises(InputError, match=r"GroundTruth1_2\.mat.*uint8.*float64"):
        references(testsets.load("kohler", tmp_path).samples[1])


@pytest.mark.parametrize("content", [b"", b"not a matrix" * 20])
def test_kohler_mat_file_that_cannot_be_read_is_refused(tmp_path, content):
    use_mat_files(kohler_tree(tmp_path))
    path = tmp_path / "groundTruthMatFiles" / "GroundTruth1_2.mat"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"GroundTruth1_2\.mat.*PNG"):
        references(testsets.load("kohler", tmp_path).samples[1])


def test_kohler_mat_file_of_something_else_is_refused(tmp_path):
    use_mat_files(kohler_tree(tmp_path))
    io.savemat(tmp_path / "groundTruthMatFiles" / "GroundTruth1_2.mat", {"kernel": np.zeros(3)})
    with pytest.raises(InputError, match=r"GroundTruth1_2\.mat.*no variable GroundTruth"):
        references(testsets.load("kohler", tmp_path).samples[1])


def test_lai_real_images_have_no_references(tmp_path):
    lai_tree(tmp_path)
    samples = testsets.load("lai", tmp_path).samples
    assert [(sample.name, references(sample)) for sample in samples] == [("boat1", []), ("wheel", [])]
    assert testsets.load("lai", tmp_path / "real_dataset").samples == samples


@pytest.mark.parametrize(("kind", "suffix"), [("uniform", "kernel"), ("nonuniform", "gyro")])
def test_lai_synthetic_images_share_the_ground_truth(tmp_path, kind, suffix):
    lai_tree(tmp_path)
    samples = testsets.load(f"lai_{kind}", tmp_path).samples
    assert [sample.name for sample in samples] == [
        f"{name}_{suffix}_0{number}" for name in ("people_01", "text_02") for number in (1, 2)
    ]
    assert [references(sample) for sample in samples] == [[1], [1], [2], [2]]
    assert testsets.load(f"lai_{kind}", tmp_path / "synthetic_dataset").samples == samples


def test_lai_without_ground_truth_names_the_file(tmp_path):
    lai_tree(tmp_path)
    (tmp_path / "synthetic_dataset" / "ground_truth" / "text_02.png").unlink()
    with pytest.raises(InputError, match=r"text_02\.png: no such file"):
        testsets.load("lai_uniform", tmp_path)


@pytest.mark.parametrize("camera", ["J", "R"])
def test_realblur_follows_its_list(tmp_path, camera):
    realblur_tree(tmp_path, camera)
    samples = testsets.load(f"realblur_{camera.lower()}", tmp_path).samples
    assert [sample.name for sample in samples] == ["scene004/blur_1", "scene004/blur_2", "scene010/blur_1"]
    assert [references(sample) for sample in samples] == [[3]] * 3
    assert int(read_image(samples[0].blurry)[0, 0, 0]) == 1


def test_realblur_names_a_file_of_the_list_that_is_missing(tmp_path):
    realblur_tree(tmp_path)
    next(tmp_path.glob("*/scene010/gt/gt_1.png")).unlink()
    with pytest.raises(InputError, match=r"scene010/gt/gt_1\.png.*RealBlur_J_test_list\.txt"):
        testsets.load("realblur_j", tmp_path)


def test_realblur_list_with_another_number_of_columns_is_refused(tmp_path):
    (tmp_path / "RealBlur_J_test_list.txt").write_text("one.png\n")
    with pytest.raises(InputError, match=r"RealBlur_J_test_list\.txt.*one\.png"):
        testsets.load("realblur_j", tmp_path)


def test_a_reference_of_another_size_is_refused_when_it_is_read(tmp_path):
    lai_tree(tmp_path)
    write(tmp_path / "synthetic_dataset" / "ground_truth" / "text_02.png", height=7)
    sample = testsets.load("lai_uniform", tmp_path).samples[2]
    with pytest.raises(InputError, match=r"text_02\.png.*\(7, 8, 3\).*\(6, 8, 3\)"):
        references(sample)


@pytest.mark.parametrize("benchmark", testsets.BENCHMARKS)
def test_an_empty_folder_is_refused_by_name(tmp_path, benchmark):
    with pytest.raises(InputError, match=str(tmp_path)):
        testsets.load(benchmark, tmp_path)


def test_a_missing_folder_and_an_unknown_benchmark_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder.*Datasets/gopro, .*docs/data\.md"):
        testsets.load("gopro", tmp_path / "nowhere")
    with pytest.raises(InputError, match="realblur_j"):
        testsets.load("celso", tmp_path)
