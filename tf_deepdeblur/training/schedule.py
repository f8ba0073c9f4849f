"""The learning rate: constant, then multiplied by a factor at given steps (section 3.2)."""

from keras.optimizers.schedules import ExponentialDecay, LearningRateSchedule, PiecewiseConstantDecay


def step_decay(learning_rate: float, decay_steps: tuple[int, ...], decay_rate: float) -> LearningRateSchedule:
    """A Keras schedule that decays step-wise.

    Args:
        learning_rate: before the first decay.
        decay_steps: one number N: decay every N steps, as in the paper; several: decay when so many steps are done.
        decay_rate: factor of each decay.
    """
    if len(decay_steps) == 1:
        return ExponentialDecay(learning_rate, decay_steps[0], decay_rate, staircase=True)
    rates = [learning_rate * decay_rate**i for i in range(len(decay_steps) + 1)]
    # Keras switches after a boundary has passed; steps are counted from 0, so step N is the first after N steps.
    return PiecewiseConstantDecay([step - 1 for step in decay_steps], rates)
