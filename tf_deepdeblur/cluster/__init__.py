"""Work divided over the actors of a Ray cluster; Ray is imported inside the functions.

An actor is a process with a GPU, or some cores, somewhere in the cluster. It opens a worker once, which loads a network
for example, and then does one batch of items after the other. ``pool`` connects to the cluster and starts actors,
``run`` hands out the work, ``actor`` is what runs in the cluster.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
