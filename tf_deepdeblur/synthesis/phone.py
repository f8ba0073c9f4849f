"""What a phone adds to a photograph: highlights that are clipped, the sensor's noise, JPEG."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from tf_deepdeblur.synthesis.response import Response

_HIGHLIGHTS = (1.0, 3.0)
_WHITE = (250, 255)  # levels from here on count as clipped, the first of them hardly, the last fully
_SHOT = (1e-5, 5e-4)  # a sensor that holds 100,000 to 2,000 electrons
_READ = (1e-4, 1e-3)
_QUALITY = (75, 98)


class Phone(NamedTuple):
    """One phone and one exposure of it.

    Attributes:
        highlights: light of white areas, at least 1; 1 is the light that is just white. Light sources that move leave
            streaks which are white too, not grey.
        shot: variance of the photon noise at signal 1.
        read: standard deviation of the noise at signal 0.
        quality: of the JPEG, 1 to 100.
    """

    highlights: float
    shot: float
    read: float
    quality: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Phone":
        """A random phone; the logarithms of highlights and noise are uniform, and so is the quality."""
        highlights, shot, read = (float(np.exp(rng.uniform(*np.log(x)))) for x in (_HIGHLIGHTS, _SHOT, _READ))
        return cls(highlights, shot, read, int(rng.integers(_QUALITY[0], _QUALITY[1] + 1)))

    def response(self, response: Response, rng: np.random.Generator) -> Response:
        """The Response of a camera with these highlights and this noise, which is added in linear light."""
        first, last = _WHITE
        excess = np.clip((np.arange(256) - first) / (last - first), 0.0, 1.0)[:, None] ** 2

        def observe(signal):
            signal = signal.astype(np.float32)  # far below its noise, and twice as fast
            deviation = np.sqrt(self.shot * signal + self.read**2)
            return response.observe(
                np.clip(signal + deviation * rng.standard_normal(signal.shape, np.float32), 0.0, 1.0)
            )

        return Response(response.signals * (1 + (self.highlights - 1) * excess), observe)

    def compress(self, image: np.ndarray) -> np.ndarray:
        """What is left of a uint8 [H, W, 3] image after JPEG."""
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=self.quality)
        return np.asarray(Image.open(file))
