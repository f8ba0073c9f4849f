"""Writes what a repository on the Hugging Face hub needs, and uploads it.

    deepdeblur publish --model runs/gopro --output_dir published
    deepdeblur publish --model runs/gopro --output_dir published --results_dir results/gopro --repo user/name

Writes generator.keras (the same bytes), model.json (architecture, SHA-256, training, scores), README.md (a model card)
and picture.png into --output_dir. Look at them before you upload: --repo makes user/name if there is none, and needs a
token that may write there, in HF_TOKEN or from huggingface_hub's login. Everybody can use the network then as
--model hf://user/name.
"""

from collections.abc import Sequence

from absl import flags

from tf_deepdeblur import cli, runtime

_MODEL = flags.DEFINE_string(
    "model", None, "A run folder, a .keras file, the name of shipped weights, or hf://user/name.", required=True
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write to.", required=True)
_REPO = flags.DEFINE_string("repo", None, "user/name on the hub to upload to; default: nothing is uploaded.")
_LICENSE = flags.DEFINE_string(
    "license", "mit", "The weights' licence, as the hub calls it: mit, cc-by-4.0, other, ..."
)
_NOTES = flags.DEFINE_string("notes", "", "Markdown for the card, such as what the training data are and whose.")
_RESULTS_DIR = flags.DEFINE_string(
    "results_dir", None, "Folder of an evaluation of this network: its scores and pictures go on the card."
)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    cli.reject_arguments(argv)
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.export.publish import FILES, publish
    from tf_deepdeblur.models import hub
    from tf_deepdeblur.training import read_training

    path = cli.find_model(_MODEL.value)
    description = publish(
        path,
        _OUTPUT_DIR.value,
        repository=_REPO.value,
        license=_LICENSE.value,
        notes=_NOTES.value,
        training=read_training(path),
        results_dir=_RESULTS_DIR.value,
    )
    print(f"{', '.join(FILES)} are in {_OUTPUT_DIR.value}; SHA-256 {description['sha256']}")
    if _REPO.value:
        commit = hub.upload(_OUTPUT_DIR.value, FILES, _REPO.value)
        print(f"uploaded to hf://{_REPO.value}, commit {commit}")
    return 0
