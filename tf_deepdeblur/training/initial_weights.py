"""Starting a run from existing weights: of another run, of a file, or from the hub."""

import os
from pathlib import Path

import tensorflow as tf

from tf_deepdeblur.config import ARCHITECTURE
from tf_deepdeblur.errors import InputError, first_line
from tf_deepdeblur.io.checksum import sha256
from tf_deepdeblur.models import hub
from tf_deepdeblur.models.saving import find_model, load_generator
from tf_deepdeblur.training.gan import DeblurGAN
from tf_deepdeblur.training.run_folder import RunFolder


def architecture(weights: str | os.PathLike) -> dict[str, int | bool]:
    """The values of ``ModelConfig`` that a network was made with.

    Args:
        weights: what ``load_generator`` takes.

    Raises:
        InputError: if there is no complete network.
    """
    config = load_generator(weights).get_config()
    return {name: config[name] for name in ARCHITECTURE}


def assign_initial_weights(model: DeblurGAN, weights: str) -> dict[str, str]:
    """Gives the networks of a new run the weights of another one.

    The trained generator and its average start from the same weights. Where ``weights`` are of a run that trained a
    discriminator, that starts from the run's newest checkpoint (for ``generator_best.keras`` from the best one);
    otherwise it keeps its random weights.

    Args:
        model: a DeblurGAN.
        weights: what ``load_generator`` takes.

    Returns:
        Where the weights are from, for ``RunFolder.initial_weights``: "name" (of a run or file without its path, or on
        the hub), "sha256" of the file, "commit" if it is from the hub, and "discriminator", what that starts from.

    Raises:
        InputError: naming the argument, if the network has another architecture; or if the run's checkpoint is damaged.
    """
    path = find_model(weights)
    generator = load_generator(path)
    ours, theirs = model.generator.get_config(), generator.get_config()
    differences = [f"`{name}={theirs[name]}`, not {ours[name]}" for name in ARCHITECTURE if theirs[name] != ours[name]]
    if differences:
        raise InputError(f"{weights}: was made with {', '.join(differences)}; leave these out or use other weights")
    for network in {id(network): network for network in (model.generator, model.trained_generator)}.values():
        network.set_weights(generator.get_weights())

    is_from_hub = weights.startswith(hub.PREFIX)
    origin = {"name": weights if is_from_hub else Path(weights).expanduser().resolve().name, "sha256": sha256(path)}
    if is_from_hub:
        origin["commit"] = path.parent.name
    if model.discriminator is not None:
        run = RunFolder(path.parent)
        kind = "best" if path.name == run.best_generator.name else "last"
        stored = _stored_discriminator(run.checkpoints / kind)
        if stored is not None:
            try:
                model.discriminator.set_weights(stored)
            except ValueError as error:
                raise InputError(f"{run.checkpoints / kind}: holds another discriminator; use {path} alone") from error
        origin["discriminator"] = "from random weights" if stored is None else "from the same run"
    return origin


def describe_origin(origin: dict[str, str]) -> str:
    """A result of ``assign_initial_weights`` for messages."""
    facts = ", ".join(f"{name} {value}" for name, value in origin.items() if name != "name")
    return f"starts from {origin['name']} ({facts})"


def _stored_discriminator(folder):
    """The weights in the newest checkpoint of a folder, or None if it has none."""
    checkpoint = tf.train.latest_checkpoint(folder)
    if checkpoint is None:
        return None
    try:
        reader = tf.train.load_checkpoint(checkpoint)
        count = sum(name.startswith("discriminator/") for name in reader.get_variable_to_shape_map())
        names = [f"discriminator/{index}/.ATTRIBUTES/VARIABLE_VALUE" for index in range(count)]
        return [reader.get_tensor(name) for name in names] or None
    except (tf.errors.OpError, ValueError, RuntimeError, LookupError) as error:
        raise InputError(f"{checkpoint}: cannot be read ({first_line(error)}); copy the run again") from error
