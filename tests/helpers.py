import numpy as np

from tf_deepdeblur.io.images import write_image


def write_pairs(folder, count, height=48, width=64, seed=0):
    """Plain pairs: smooth colours, and the same with noise."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        corners = rng.integers(40, 216, (2, 2, 3))
        rows, columns = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
        top, bottom = (corners[i, 0] * (1 - columns) + corners[i, 1] * columns for i in (0, 1))
        sharp = top * (1 - rows) + bottom * rows
        for kind, image in (("blur", sharp + rng.normal(0, 8, sharp.shape)), ("sharp", sharp)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            write_image(folder / kind / f"{number:03d}.png", np.clip(image, 0, 255).astype(np.uint8))
    return folder
