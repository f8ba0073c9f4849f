"""``deepdeblur train`` with a small discriminator, which takes small patches."""

from unittest import mock

from tests.training.gans import small_discriminator
from tf_deepdeblur import commands
from tf_deepdeblur.training import setup


def small():
    """A context in which trainings have the small discriminator; the paper's takes patches from 193 pixels."""
    return mock.patch.multiple(setup, Discriminator=small_discriminator, MIN_PATCH_SIZE=8)


def run(*flags):
    """Runs the command and exits with its code."""
    with small():
        commands.run("train", ["deepdeblur train", *flags])
