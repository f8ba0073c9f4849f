"""Converts a checkpoint of the authors' DeepDeblur-PyTorch to a .keras file.

    deepdeblur import_weights --checkpoint GOPRO_L1/models/model-1000.pt --output generator.keras

The authors' README (github.com/SeungjunNah/DeepDeblur-PyTorch) links archives of trained models; unzip one and give a
models/model-*.pt of it. Only the generator is imported; their Torch7 release (.t7) is not read. Reading needs PyTorch
(pip install -e '.[torch]') and is done in its safe mode: a file that asks to run code is refused.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tf_deepdeblur import cli, runtime
from tf_deepdeblur.errors import InputError

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The authors' checkpoint, models/model-*.pt.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "The .keras file to write; its folder must exist.", required=True)
flags.register_validator(_OUTPUT, lambda path: path is None or path.endswith(".keras"), "must end in .keras")


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    cli.reject_arguments(argv)
    output = Path(_OUTPUT.value).expanduser()
    if not output.parent.is_dir():
        raise InputError(f"{output}: no folder {output.parent}; create it or choose another --output")
    runtime.import_tensorflow_quietly()
    from tf_deepdeblur.models.saving import save_generator
    from tf_deepdeblur.models.torch_weights import read_checkpoint

    generator = read_checkpoint(Path(_CHECKPOINT.value).expanduser())
    try:
        save_generator(generator, output)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror or error}); choose another --output") from error
    print(
        f"{output}: {generator.num_scales} scales, {generator.num_res_blocks} ResBlocks, "
        f"{generator.filters} filters, kernel size {generator.kernel_size}"
    )
    return 0
