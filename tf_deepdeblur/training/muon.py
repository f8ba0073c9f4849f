"""Muon for the kernels of convolutions, as a Keras optimizer."""

import re

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tf_deepdeblur")
class ConvMuon(keras.optimizers.Muon):
    """Muon for the kernels of layers that are called ``res_block``, as ``ResBlock``s are; Adam for everything else.

    Keras's own takes matrices alone. Here a kernel [height, width, in, out] is a matrix of height * width * in rows and
    out columns, whose momentum is replaced by the nearest matrix with orthogonal columns (Jordan et al., "Muon: an
    optimizer for hidden layers in neural networks", 2024; scaled as in Liu et al., arXiv:2502.16982, so that Adam's
    learning rates suit it). Biases, the convolutions from and to images and the upconvolutions are Adam's, as its
    authors advise.

        gan.compile(ConvMuon(1e-3, weight_decay=None, adam_weight_decay=None))

    Args and errors are those of ``keras.optimizers.Muon``; ``exclude_embeddings`` changes nothing.
    """

    def _should_use_adamw(self, variable):
        is_excluded = any(re.search(pattern, variable.path) for pattern in self.exclude_layers)
        return is_excluded or len(variable.shape) != 4 or "res_block" not in variable.path

    def _muon_update_step(self, gradient, variable, lr, m):
        self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
        step = ops.add(gradient, self.momentum * m) if self.nesterov else m
        step = self.zeropower_via_newtonschulz5(ops.reshape(step, (-1, variable.shape[-1])), self.ns_steps)
        self.assign_sub(variable, ops.reshape(self.lr_adjust(lr * step), variable.shape))
