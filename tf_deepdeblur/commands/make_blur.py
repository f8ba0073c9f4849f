"""Makes a blur data set from high-speed videos, folders of frames, or photographs.

    deepdeblur make_blur --output_dir ~/my_blur clips/
    deepdeblur make_blur --output_dir ~/shaken --from_photos photos/
    deepdeblur make_blur --output_dir ~/hand --from_photos --max_frames 27 --shake 0,25 --phone photos/
    deepdeblur train --flagfile configs/gopro.cfg --data_dir ~/my_blur

Inputs are videos, folders of frames, or folders of such. Footage should have 240 frames per second; below 120,
fast motion leaves ghosts instead of smears. M successive frames are averaged (section 2 of the paper): sharp/ has the
middle frame, blur_gamma/ the mean in linear light seen through the response curve again, blur/ the plain mean of the
levels. With --camera_response=linear both are equal. A fraction of the sequences goes to test/; a single one to train/.

The same command continues an interrupted run. Look at contact_sheet.png before training; manifest.csv has each pair's
frames, exposure (s), PSNR (dB) and motion per frame (px, 90th percentile).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tf_deepdeblur import cli
from tf_deepdeblur.errors import InputError

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder of the data set to make.", required=True)
_FROM_PHOTOS = flags.DEFINE_bool("from_photos", False, "The inputs are photographs; simulate a shaking camera.")
_TEST_FRACTION = flags.DEFINE_float("test_fraction", 0.33, "Fraction of the sequences that go to test/.", 0.0, 1.0)
_TEST_SEQUENCES = flags.DEFINE_list(
    "test_sequences", [], "Names of the inputs that go to test/, instead of a random choice."
)
_SETTINGS = (
    _FROM_PHOTOS,
    flags.DEFINE_integer(
        "min_frames", 7, "Least number M of frames to average; M is odd and random for each sequence.", lower_bound=1
    ),
    flags.DEFINE_integer("max_frames", 13, "Greatest number of frames to average.", lower_bound=1),
    flags.DEFINE_string(
        "camera_response", "gamma", "Response curve: gamma, linear, or a CSV file with rows of level,signal."
    ),
    flags.DEFINE_float("gamma", 2.2, "Exponent of --camera_response=gamma, from 0.1 to 10."),
    flags.DEFINE_integer(
        "stride", 0, "Frames from the start of a window to the next; 0 is M - overlap.", lower_bound=0
    ),
    flags.DEFINE_integer("overlap", 0, "Frames that neighbouring windows share.", lower_bound=0),
    flags.DEFINE_integer("first_frame", 0, "First frame to use.", lower_bound=0),
    flags.DEFINE_integer("last_frame", 0, "Frame to stop before; 0 uses all.", lower_bound=0),
    flags.DEFINE_list("crop", [], "Part of the frame to use: left,top,width,height."),
    flags.DEFINE_integer("downscale", 1, "Downscale the frames by this factor first.", lower_bound=1),
    flags.DEFINE_float(
        "fps", 0.0, "The camera's frames per second: of a folder of frames, or of a slowed video.", lower_bound=0.0
    ),
    flags.DEFINE_integer("takes", 4, "Pairs to make from each photograph.", lower_bound=1),
    flags.DEFINE_list("shake", [], "Of photographs: shortest,longest path of the camera in pixels; else up to M - 1."),
    flags.DEFINE_float("roll", 1.0, "Of photographs: the camera's greatest rotation in degrees.", lower_bound=0.0),
    flags.DEFINE_float("moving", 0.5, "Part of the photographs' pairs in which something moves on its own.", 0.0, 1.0),
    flags.DEFINE_bool("phone", False, "Of photographs: clip highlights, add a sensor's noise, compress with JPEG."),
    flags.DEFINE_integer("seed", 0, "Seed of M, the split and the camera shake.", lower_bound=0),
)
_SHARD = cli.define_shard(__name__)
cli.define_cluster(__name__)
flags.DEFINE_alias("crf", "camera_response")  # its name until version 0.1


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    if not argv[1:]:
        raise cli.UsageError("no input; give videos, folders of frames, or with --from_photos photographs")
    shard, cluster = cli.shard(_SHARD), cli.cluster()
    from tf_deepdeblur.synthesis.make import make_blur
    from tf_deepdeblur.synthesis.sequences import Settings, plan

    values = {flag.name: flag.value for flag in _SETTINGS}
    try:
        values["crop"] = tuple(map(int, values["crop"]))
        values["shake"] = tuple(map(float, values["shake"]))
        settings = Settings(**values)
    except ValueError as error:
        reason = str(error) if isinstance(error, InputError) else f"--crop and --shake: {error}"
        raise cli.UsageError(reason) from error
    folder = Path(_OUTPUT_DIR.value).expanduser()
    sequences, unusable = plan(argv[1:], folder, settings, _TEST_FRACTION.value, _TEST_SEQUENCES.value)
    warnings, failures = make_blur(sequences, folder, settings, shard, cluster)
    for kind, lines in (("warning", warnings), ("failed", unusable + failures)):
        for line in lines:
            print(f"{kind}: {cli.as_line(line)}", file=sys.stderr)
    count = len(shard.of(sequences)) - len(failures)
    part = f"shard {shard}: " if shard.count > 1 else ""
    sheet = folder / "contact_sheet.png"
    print(f"{part}{count} sequences are in {folder}; look at {sheet}" if count else f"{part}nothing was made")
    return 1 if unusable or failures else 0
