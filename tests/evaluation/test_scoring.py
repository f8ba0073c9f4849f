import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tf_deepdeblur import evaluation, metrics
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.evaluation import kohler, testsets
from tf_deepdeblur.evaluation.report import write_comparison
from tf_deepdeblur.evaluation.testsets import Sample, open_references
from tf_deepdeblur.io.images import read_image, write_image
from tf_deepdeblur.shards import WorkShard

MEASURES = ("psnr", "ssim_gaussian", "ssim_matlab3d")


def identity(image):
    return image


def brighter(image):
    return np.minimum(image, 245) + np.uint8(10)


class Counted:
    """A deblurring function that counts its calls and stops after some of them."""

    def __init__(self, function=brighter, stop_after=None):
        self.function, self.stop_after, self.calls = function, stop_after, 0

    def __call__(self, image):
        if self.calls == self.stop_after:
            raise KeyboardInterrupt
        self.calls += 1
        return self.function(image)


def make_samples(root, count=5, height=40, width=56, references=1):
    """Crops of a photograph; the higher the number, the noisier the blurry image. References differ by one level."""
    rng, samples = np.random.default_rng(0), []
    for number in range(count):
        top, left = 60 + 10 * number, 100
        sharp = np.minimum(data.astronaut()[top : top + height, left : left + width], 245)
        noise = rng.normal(0, 4 + 4 * number, sharp.shape)
        paths = [root / f"sharp_{number}_{reference}.png" for reference in range(references)]
        for reference, path in enumerate(paths):
            write_image(path, sharp + np.uint8(reference))
        blurry = root / f"blurry_{number}.png"
        write_image(blurry, np.clip(sharp + noise, 0, 255).astype(np.uint8))
        samples.append(Sample(f"clip/{number}", blurry, tuple(paths)))
    return samples


def score(deblur, samples, output_dir, benchmark="pairs", blur_key=None, **options):
    return evaluation.evaluate(deblur, testsets.TestSet(benchmark, samples, blur_key), output_dir, **options)


def stored(output_dir):
    return json.loads((output_dir / "results.json").read_text())


def without_seconds(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_every_number_agrees_with_scikit_image_on_the_written_files(tmp_path):
    samples = make_samples(tmp_path)
    results = score(brighter, samples, tmp_path / "out")
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": -1}
    for sample, row in zip(samples, results["rows"], strict=True):
        sharp = read_image(sample.references[0])
        written = read_image(tmp_path / "out" / "images" / f"{sample.name}.png")
        np.testing.assert_array_equal(written, brighter(read_image(sample.blurry)))
        for image, numbers in ((written, row), (read_image(sample.blurry), row["blurry"])):
            volume = float(metrics.ssim(image[None], sharp[None], variant="matlab3d")[0])
            assert numbers["psnr"] == pytest.approx(peak_signal_noise_ratio(sharp, image), abs=1e-4)
            assert numbers["ssim_gaussian"] == pytest.approx(structural_similarity(sharp, image, **options), abs=1e-4)
            assert numbers["ssim_matlab3d"] == pytest.approx(volume, abs=1e-6)


def test_identity_scores_like_the_blurry_images(tmp_path):
    results = score(identity, make_samples(tmp_path), tmp_path / "out")
    seconds = results["mean"].pop("seconds")
    assert results["mean"] == results["blurry"]
    assert 0 <= seconds < 1


def test_means_are_means_of_the_rows_and_the_file_holds_what_is_returned(tmp_path):
    samples = make_samples(tmp_path)
    results = score(brighter, samples, tmp_path / "out", benchmark="gopro", blur_key="blur", model="m")
    assert results == stored(tmp_path / "out")
    assert (results["benchmark"], results["blur_key"], results["model"]) == ("gopro", "blur", "m")
    assert results["num_images"] == results["num_available"] == len(results["rows"]) == 5
    for measure in MEASURES:
        assert results["mean"][measure] == pytest.approx(np.mean([row[measure] for row in results["rows"]]))
        assert results["blurry"][measure] == pytest.approx(np.mean([row["blurry"][measure] for row in results["rows"]]))


def test_kohler_is_scored_by_its_own_protocol(tmp_path):
    samples = make_samples(tmp_path, count=2, height=165, width=161, references=3)
    results = score(brighter, samples, tmp_path / "out", benchmark="kohler")
    for sample, row in zip(samples, results["rows"], strict=True):
        best = kohler.score(brighter(read_image(sample.blurry)), open_references(sample))
        assert (row["psnr"], row["mssim"]) == (best.psnr, best.mssim)
        assert (row["psnr_reference"], row["mssim_reference"]) == (best.psnr_frame, best.mssim_frame)
    assert set(results["mean"]) == {"psnr", "mssim", "seconds"}
    assert set(results["blurry"]) == {"psnr", "mssim"}
    assert read_image(tmp_path / "out" / "sheet.png").shape == (2 * 165 + 4, 3 * 161 + 2 * 4, 3)


def test_images_without_sharp_ones_get_no_score(tmp_path):
    samples = [Sample(sample.name, sample.blurry) for sample in make_samples(tmp_path)]
    results = score(brighter, samples, tmp_path / "out", benchmark="lai")
    assert results["blurry"] == {}
    assert set(results["mean"]) == {"seconds"}
    assert "there are no scores" in (tmp_path / "out" / "results.md").read_text()
    assert len(list((tmp_path / "out" / "images").rglob("*.png"))) == 5
    assert read_image(tmp_path / "out" / "sheet.png").shape == (2 * 240 + 4, 8 * 240 + 7 * 4, 3)


def test_an_interrupted_evaluation_goes_on_where_it_stopped(tmp_path):
    samples = make_samples(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        score(Counted(stop_after=4), samples, tmp_path / "out")
    assert not (tmp_path / "out" / "results.json").exists()
    rest = Counted()
    resumed = score(rest, samples, tmp_path / "out")
    whole = score(brighter, samples, tmp_path / "whole")
    assert rest.calls == 1 + 2  # three of five were done; the first of the rest is called once untimed
    assert without_seconds(resumed["rows"]) == without_seconds(whole["rows"])


def test_a_finished_evaluation_is_not_repeated(tmp_path):
    samples, again = make_samples(tmp_path), Counted()
    first = score(brighter, samples, tmp_path / "out")
    assert score(again, samples, tmp_path / "out") == first
    assert again.calls == 0


def test_a_larger_limit_adds_to_what_is_there(tmp_path):
    samples, again = make_samples(tmp_path), Counted()
    score(brighter, samples, tmp_path / "out", limit=2)
    results = score(again, samples, tmp_path / "out", limit=4)
    assert [row["name"] for row in results["rows"]] == ["clip/0", "clip/1", "clip/2", "clip/3"]
    assert again.calls == 1 + 2


def test_rows_that_were_cut_off_or_lost_their_picture_are_done_again(tmp_path):
    samples, again = make_samples(tmp_path), Counted()
    first = score(brighter, samples, tmp_path / "out")
    rows_file = tmp_path / "out" / "rows.jsonl"
    rows_file.write_text(rows_file.read_text()[:-20])
    (tmp_path / "out" / "images" / "clip" / "1.png").unlink()
    second = score(again, samples, tmp_path / "out")
    assert again.calls == 1 + 2
    assert without_seconds(second["rows"]) == without_seconds(first["rows"])
    assert len(rows_file.read_text().splitlines()) == 1 + 5


@pytest.mark.parametrize(
    "other", [{"model": "other"}, {"benchmark": "reds"}, {"blur_key": "blur"}], ids=lambda other: next(iter(other))
)
def test_rows_of_another_evaluation_are_refused(tmp_path, other):
    this = {"benchmark": "gopro", "blur_key": "blur_gamma", "model": "one"}
    samples = make_samples(tmp_path, count=2)
    score(brighter, samples, tmp_path / "out", **this)
    ((key, value),) = other.items()
    with pytest.raises(InputError, match=rf"rows\.jsonl.*{key} '{this[key]}', now '{value}'.*`output_dir`"):
        score(brighter, samples, tmp_path / "out", **(this | other))


HEADER = json.dumps({"benchmark": "pairs", "blur_key": None, "model": ""})
ROW = {"name": "clip/0", "seconds": None, "blurry": {"psnr": 20.0}, "psnr": 21.0}


@pytest.mark.parametrize(
    "content",
    [
        "name,psnr\n1,2\n",
        "[" * 100_000 + "\n",
        "5\n",
        '{"benchmark": "pairs"}\n',
        *(
            f"{HEADER}\n{row}\n"
            for row in (
                "[]",
                "{}",
                json.dumps(ROW | {"name": 5}),
                json.dumps(ROW | {"blurry": None}),
                json.dumps(ROW | {"psnr": "high"}),
                json.dumps(ROW | {"psnr": float("nan")}),
                json.dumps({key: value for key, value in ROW.items() if key != "seconds"}),
            )
        ),
    ],
    ids=lambda content: content[-60:],
)
def test_a_damaged_rows_file_is_refused_in_one_line(tmp_path, content):
    samples = make_samples(tmp_path, count=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rows.jsonl").write_text(content)
    with pytest.raises(InputError, match=r"rows\.jsonl.*delete the file") as caught:
        score(brighter, samples, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_nothing_but_the_results_is_left(tmp_path):
    score(brighter, make_samples(tmp_path, count=2), tmp_path / "out")
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    results = {"rows.jsonl", "results.json", "results.md", "sheet.png"}
    assert files == results | {"images/clip/0.png", "images/clip/1.png"}


def test_the_first_image_is_timed_warm_and_others_only_if_their_size_was_seen(tmp_path):
    (tmp_path / "wide").mkdir()
    samples = make_samples(tmp_path, count=2)
    wide = make_samples(tmp_path / "wide", count=2, width=70)
    samples += [Sample(f"wide/{sample.name}", sample.blurry, sample.references) for sample in wide]
    deblur = Counted()
    rows = score(deblur, samples, tmp_path / "out")["rows"]
    assert deblur.calls == 1 + 4
    assert [row["seconds"] is None for row in rows] == [False, False, True, False]


def test_a_limited_evaluation_says_so(tmp_path):
    results = score(brighter, make_samples(tmp_path), tmp_path / "out", limit=2)
    assert [row["name"] for row in results["rows"]] == ["clip/0", "clip/2"]
    assert (results["num_images"], results["num_available"]) == (2, 5)
    assert "Only 2 of 5 images" in (tmp_path / "out" / "results.md").read_text()


def table(output_dir):
    lines = [line for line in (output_dir / "results.md").read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in cells}) == 1
    return {row[0]: row[1:] for row in cells}


def test_gopro_table_has_the_papers_numbers_beside_ours(tmp_path):
    results = score(brighter, make_samples(tmp_path), tmp_path / "out", benchmark="gopro", blur_key="blur_gamma")
    write_comparison({"restored": {**results, "num_available": 1111}}, tmp_path / "out")
    rows = table(tmp_path / "out")
    assert rows["Measure"][-1] == "K = 3 (paper)"
    assert rows["PSNR (dB)"][0] == f"{results['blurry']['psnr']:.2f}"
    assert rows["PSNR (dB)"][1:] == [f"{results['mean']['psnr']:.2f}", "24.64", "23.64", "28.93", "29.23", "29.08"]
    assert rows["SSIM (matlab3d)"][2:] == ["0.8429", "0.8239", "0.9100", "0.9162", "0.9135"]
    assert rows["SSIM (gaussian)"][2:] == ["-"] * 5
    assert rows["Runtime (s per image)"][0] == "-"
    assert rows["Runtime (s per image)"][2:] == ["20 min", "1 hr", "7.21", "4.33", "3.09"]
    notes = (tmp_path / "out" / "results.md").read_text()
    assert "CVPR 2017, Table 2" in notes
    assert "The paper's SSIM is of this kind" in notes


@pytest.mark.parametrize(("benchmark", "blur_key"), [("gopro", "blur"), ("reds", None)])
def test_the_papers_numbers_stay_away_from_what_they_do_not_describe(tmp_path, benchmark, blur_key):
    score(brighter, make_samples(tmp_path, count=1), tmp_path / "out", benchmark=benchmark, blur_key=blur_key)
    assert table(tmp_path / "out")["Measure"] == ["blurry input", "restored"]
    assert ("The paper evaluates on blur_gamma" in (tmp_path / "out" / "results.md").read_text()) == bool(blur_key)


@pytest.mark.parametrize(("benchmark", "number"), [("gopro", 1111), ("kohler", 48)])
def test_images_of_ones_own_in_the_papers_layout_have_no_numbers_of_the_paper_beside_them(tmp_path, benchmark, number):
    samples = make_samples(tmp_path, count=1, height=161, width=161)
    blur_key = "blur_gamma" if benchmark == "gopro" else None
    score(brighter, samples, tmp_path / "out", benchmark=benchmark, blur_key=blur_key)
    assert table(tmp_path / "out")["Measure"] == ["blurry input", "restored"]
    assert f"The paper's test set has {number} images" in (tmp_path / "out" / "results.md").read_text()


def test_kohler_table_has_table_3(tmp_path):
    samples = make_samples(tmp_path, count=1, height=161, width=161)
    results = score(brighter, samples, tmp_path / "out", benchmark="kohler")
    write_comparison({"restored": {**results, "num_available": 48}}, tmp_path / "out")
    rows = table(tmp_path / "out")
    assert rows["MSSIM (Koehler's)"][2:] == ["0.7735", "0.7937", "0.8042", "0.8116", "0.8079"]
    assert rows["PSNR (dB)"][2:] == ["25.22", "24.68", "25.74", "26.02", "26.48"]


def test_several_models_have_a_column_each_beside_the_papers(tmp_path):
    samples = make_samples(tmp_path, count=2)
    common = {"benchmark": "gopro", "blur_key": "blur_gamma"}
    results = {
        column: score(deblur, samples, tmp_path / column, model=f"weights of {column}", **common)
        for column, deblur in {"k1": identity, "k3": brighter}.items()
    }
    write_comparison({column: {**scores, "num_available": 1111} for column, scores in results.items()}, tmp_path)
    rows, notes = table(tmp_path), (tmp_path / "results.md").read_text()
    assert rows["Measure"][:4] == ["blurry input", "k1", "k3", "Sun et al. (paper)"]
    means = [f"{results[column]['mean']['psnr']:.2f}" for column in results]
    assert rows["PSNR (dB)"][:3] == [f"{results['k1']['blurry']['psnr']:.2f}", *means]
    assert means[0] != means[1]
    assert all(f"- {column}: weights of {column}." in notes for column in results)


@pytest.mark.parametrize(("benchmark", "warned"), [("realblur_j", True), ("lai_uniform", True), ("pairs", False)])
def test_scores_without_the_usual_alignment_say_so(tmp_path, benchmark, warned):
    score(brighter, make_samples(tmp_path, count=1), tmp_path / "out", benchmark=benchmark)
    assert ("not with published tables" in (tmp_path / "out" / "results.md").read_text()) == warned


def test_identical_images_leave_valid_json(tmp_path):
    (sample,) = make_samples(tmp_path, count=1)
    same = Sample(sample.name, sample.references[0], sample.references)
    for _ in range(2):  # the second time from the rows on disk
        results = score(identity, [same], tmp_path / "out")
    assert results["mean"]["psnr"] == np.inf
    text = (tmp_path / "out" / "results.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["mean"]["psnr"] is None


def test_an_image_below_the_window_is_named(tmp_path):
    samples = make_samples(tmp_path, count=1, height=10)
    with pytest.raises(InputError, match=r"blurry_0\.png.*at least 11 pixels, it has \(10, 56\)"):
        score(identity, samples, tmp_path / "out")


def test_sheet_shows_best_median_and_worst_as_blurry_restored_sharp(tmp_path):
    samples = make_samples(tmp_path)
    score(brighter, samples, tmp_path / "out")
    sheet = read_image(tmp_path / "out" / "sheet.png")
    for row, sample in enumerate((samples[0], samples[2], samples[4])):
        blurry, sharp = read_image(sample.blurry), read_image(sample.references[0])
        for column, expected in enumerate((blurry, brighter(blurry), sharp)):
            top, left = row * 44, column * 60
            np.testing.assert_array_equal(sheet[top : top + 40, left : left + 56], expected)


def test_progress_sees_all_samples(tmp_path):
    seen = []

    def progress(samples):
        seen.extend(samples)
        return samples

    samples = make_samples(tmp_path, count=2)
    score(brighter, samples, tmp_path / "out", progress=progress)
    assert seen == samples


@pytest.mark.parametrize("deblur", [lambda image: image[1:], lambda image: image / 255.0, lambda image: image[..., 0]])
def test_a_function_that_returns_no_image_of_the_same_size_is_refused(tmp_path, deblur):
    with pytest.raises(InputError, match=r"blurry_0\.png.*uint8 \(40, 56, 3\)"):
        score(deblur, make_samples(tmp_path, count=1), tmp_path / "out")


def test_a_sharp_image_of_another_size_is_refused_by_name(tmp_path):
    (sample,) = make_samples(tmp_path, count=1)
    write_image(sample.references[0], np.zeros((40, 57, 3), np.uint8))
    with pytest.raises(InputError, match=r"sharp_0_0\.png.*\(40, 57, 3\)"):
        score(brighter, [sample], tmp_path / "out")


def test_nothing_to_do_and_double_names_are_refused(tmp_path):
    samples = make_samples(tmp_path, count=1)
    with pytest.raises(InputError, match="no images"):
        score(brighter, [], tmp_path / "out")
    with pytest.raises(InputError, match="`limit` must be at least 1"):
        score(brighter, samples, tmp_path / "out", limit=0)
    with pytest.raises(InputError, match=r"also called clip/0"):
        score(brighter, samples * 2, tmp_path / "out")


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_merged_shards_leave_what_one_machine_leaves(tmp_path):
    """In any order, two at once, and one that is interrupted and started again."""
    samples = make_samples(tmp_path, count=7)
    score(brighter, samples, tmp_path / "one", model="a.keras (1)", timing=False)
    shared = {"model": "a.keras (1)", "timing": False}
    with pytest.raises(KeyboardInterrupt):
        score(Counted(stop_after=1), samples, tmp_path / "all", shard=WorkShard(0, 3), **shared)
    with ThreadPoolExecutor(2) as pool:
        parts = [
            pool.submit(score, brighter, samples, tmp_path / "all", shard=WorkShard(i, 3), **shared) for i in (2, 1)
        ]
    assert [len(part.result()["rows"]) for part in parts] == [2, 2]
    again = Counted()
    assert score(again, samples, tmp_path / "all", shard=WorkShard(0, 3), **shared)["num_images"] == 3
    assert again.calls == 2
    assert not (tmp_path / "all" / "results.json").exists()
    test_set = testsets.TestSet("pairs", samples)
    results = evaluation.merge(test_set, tmp_path / "all", model="a.keras (")
    assert results == stored(tmp_path / "one")
    assert files(tmp_path / "all") == files(tmp_path / "one")


def test_a_shard_without_images_is_no_error(tmp_path):
    results = score(brighter, make_samples(tmp_path, count=1), tmp_path / "all", shard=WorkShard(1, 2))
    assert (results["num_images"], results["mean"], results["rows"]) == (0, {}, [])


def test_all_of_the_work_completes_what_shards_have_begun(tmp_path):
    samples = make_samples(tmp_path)
    score(brighter, samples, tmp_path / "one", timing=False)
    score(brighter, samples, tmp_path / "all", timing=False, shard=WorkShard(1, 2))
    rest = Counted()
    score(rest, samples, tmp_path / "all", timing=False)
    assert rest.calls == 3
    assert files(tmp_path / "all") == files(tmp_path / "one")


def test_merging_refuses_missing_images_and_other_models(tmp_path):
    samples = make_samples(tmp_path)
    test_set = testsets.TestSet("pairs", samples)
    with pytest.raises(InputError, match="no rows of an evaluation in it; start its shards first"):
        evaluation.merge(test_set, tmp_path / "all")
    score(brighter, samples, tmp_path / "all", model="a", shard=WorkShard(1, 2))
    with pytest.raises(InputError, match="3 of 5 images are not done, such as clip/0; start their shards again"):
        evaluation.merge(test_set, tmp_path / "all", model="a")
    with pytest.raises(InputError, match="rows of another evaluation"):
        evaluation.merge(test_set, tmp_path / "all", model="b")
    with pytest.raises(InputError, match="rows of another evaluation"):
        score(brighter, samples, tmp_path / "all", model="b", shard=WorkShard(0, 2))
