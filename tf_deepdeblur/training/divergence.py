"""Noticing a training that has diverged before its weights are saved."""

import collections
import math
import statistics

from tf_deepdeblur.errors import InputError

_HISTORY = 100  # records that the median is of
# Below these a loss is as good as perfect, so that a thousand times as much need not be bad: 60 dB of PSNR for images,
# and what a discriminator loses that tosses a coin.
_NEGLIGIBLE = {"content_loss": 1e-6, "adversarial_loss": math.log(2), "discriminator_loss": math.log(2)}
_REMEDY = "start again, from there, with `clip_norm=1`, a lower `learning_rate` or `precision=float32`"


class DivergenceGuard:
    """Compares losses with their running median.

    Args:
        factor: how many times above the median a loss may be; 0 accepts every finite one.
    """

    def __init__(self, factor: float):
        self._factor = factor
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
            if self._factor and value > self._factor * max(median, _NEGLIGIBLE[name]):
                raise InputError(
                    f"{name} is {value:.3g} at step {step}, and its median was {median:.3g}: the training diverged "
                    f"(`divergence_factor={self._factor:g}`); {last_good}: {_REMEDY}"
                )
