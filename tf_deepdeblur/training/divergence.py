"""Noticing a training that has diverged before its weights are saved."""

import collections
import math
import statistics

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.losses import undo_logarithm

_HISTORY = 100  # records that the median is of
# Below these a loss is as good as perfect, so that a thousand times as much need not be bad: 60 dB of PSNR for images,
# and the loss of a discriminator that guesses at random.
_NEGLIGIBLE = {"content_loss": 1e-6, "adversarial_loss": math.log(2), "discriminator_loss": math.log(2)}
_REMEDY = "start again, from there, with `clip_norm=1`, a lower `learning_rate` or `precision=float32`"


class DivergenceGuard:
    """Compares losses with their running median.

    Args:
        factor: how many times above the median a loss may be; 0 accepts every finite one.
        content_loss: "mse", "mae" or "log_mse". The factor of "log_mse" is one of the squared error inside its
            logarithm, which itself hardly rises.
    """

    def __init__(self, factor: float, content_loss: str = "mse"):
        self._factor = factor
        self._content_loss = content_loss
        self._history = collections.defaultdict(lambda: collections.deque(maxlen=_HISTORY))

    def remember(self, losses: dict[str, float]) -> None:
        """Takes losses, {name: value}, as good ones, into the median."""
        for name, value in losses.items():
            self._history[name].append(value)

    def check(self, step: int, losses: dict[str, float], last_good: str) -> None:
        """Ends the run if a loss is not finite, or absurd.

        Args:
            step: steps done, for the message.
            losses: {name: value}; names that are not the content loss or one of the discriminator's are left out.
            last_good: the newest checkpoint, phrased for the message.

        Raises:
            InputError: naming the losses and what to try.
        """
        losses = {name: value for name, value in losses.items() if name in _NEGLIGIBLE}
        broken = [name for name, value in losses.items() if not math.isfinite(value)]
        if broken:
            raise InputError(f"{', '.join(broken)} is not finite at step {step}; {last_good}: {_REMEDY}")
        for name, value in losses.items():
            median = statistics.median(self._history[name] or [value])
            if self._factor and self._error(name, value) > self._factor * max(
                self._error(name, median), _NEGLIGIBLE[name]
            ):
                raise InputError(
                    f"{name} is {value:.3g} at step {step}, and its median was {median:.3g}: the training diverged "
                    f"(`divergence_factor={self._factor:g}`); {last_good}: {_REMEDY}"
                )

    def _error(self, name, value):
        return undo_logarithm(value, self._content_loss) if name == "content_loss" else value
