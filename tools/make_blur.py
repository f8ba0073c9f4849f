"""Makes a blur data set in GOPRO_Large's layout from sharp high-speed videos, folders of frames, or photographs.

    python tools/make_blur.py --output_dir ~/my_blur clips/*.mp4
    python tools/make_blur.py --output_dir ~/shaken --from_photos photos/
    python tools/train.py --flagfile configs/gopro.cfg --data_dir ~/my_blur

Averages M successive frames in linear light; the sharp image is the one in the middle (section 2 of the paper). Started
again with the same command it goes on where it stopped. Look at contact_sheet.png before training.
"""

import sys
from pathlib import Path

from absl import flags

from tf_deepdeblur import flags as tool_flags
from tf_deepdeblur.errors import InputError

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder of the data set to make.", required=True)
_FROM_PHOTOS = flags.DEFINE_bool("from_photos", False, "The inputs are photographs: shake a camera in front of them.")
_TEST_FRACTION = flags.DEFINE_float("test_fraction", 1 / 3, "Part of the sequences for test/.", 0.0, 1.0)
_TEST_SEQUENCES = flags.DEFINE_list("test_sequences", [], "Names of the inputs for test/, instead of drawing them.")
_SETTINGS = (
    _FROM_PHOTOS,
    flags.DEFINE_integer("min_frames", 7, "Least M; M is odd, drawn per sequence.", lower_bound=1),
    flags.DEFINE_integer("max_frames", 13, "Greatest M.", lower_bound=1),
    flags.DEFINE_string("crf", "gamma", "Camera response: gamma, linear, or a CSV file of level,signal."),
    flags.DEFINE_float("gamma", 2.2, "Exponent of --crf=gamma.", lower_bound=0.1),
    flags.DEFINE_integer("stride", 0, "Frames from one window to the next; 0: M - overlap.", lower_bound=0),
    flags.DEFINE_integer("overlap", 0, "Frames that neighbouring windows share.", lower_bound=0),
    flags.DEFINE_integer("first_frame", 0, "First frame to use.", lower_bound=0),
    flags.DEFINE_integer("last_frame", 0, "First frame not to use any more; 0 for all.", lower_bound=0),
    flags.DEFINE_list("crop", [], "left,top,width,height: the part of the frame to use."),
    flags.DEFINE_integer("downscale", 1, "Make frames smaller by this factor first.", lower_bound=1),
    flags.DEFINE_float("fps", 0.0, "The camera's frames per second, where the file does not say it.", lower_bound=0.0),
    flags.DEFINE_integer("takes", 4, "Pairs from each photograph.", lower_bound=1),
    flags.DEFINE_integer("seed", 0, "Seed of M, split and camera shake.", lower_bound=0),
)


def main(argv):
    if not argv[1:]:
        raise tool_flags.UsageError("no input; give videos, folders of frames, or with --from_photos photographs")
    from tf_deepdeblur.data.make_blur import make_blur
    from tf_deepdeblur.data.sequences import Settings, plan

    values = {flag.name: flag.value for flag in _SETTINGS}
    try:
        values["crop"] = tuple(map(int, values["crop"]))
        settings = Settings(**values)
    except ValueError as error:
        raise tool_flags.UsageError(str(error) if isinstance(error, InputError) else f"--crop: {error}") from error
    folder = Path(_OUTPUT_DIR.value).expanduser()
    sequences, unusable = plan(argv[1:], folder, settings, _TEST_FRACTION.value, _TEST_SEQUENCES.value)
    warnings, failures = make_blur(sequences, folder, settings)
    for kind, lines in (("warning", warnings), ("failed", unusable + failures)):
        for line in lines:
            print(f"{kind}: {line}", file=sys.stderr)
    print(f"{len(sequences) - len(failures)} sequences are in {folder}; look at {folder / 'contact_sheet.png'}")
    return 1 if unusable or failures else 0


if __name__ == "__main__":
    tool_flags.run(main)
