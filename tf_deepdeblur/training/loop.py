"""The training loop: from a configuration to a restored model on disk.

The loop is a thin one around ``strategy.run(model.train_step)``, not ``Model.fit``, which fails under
MultiWorkerMirroredStrategy in Keras 3. It adds exact resume, safety against kills, and several workers. What it leaves
is listed in ``run_folder``.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tf_deepdeblur.config import TrainConfig, describe_changes
from tf_deepdeblur.data.pipeline import Shard, TrainingSamples
from tf_deepdeblur.errors import InputError, TemporaryError
from tf_deepdeblur.io.atomic import write_atomically
from tf_deepdeblur.training.agreement import facts_to_agree_on, with_remedy
from tf_deepdeblur.training.cluster import ALONE, find_cluster
from tf_deepdeblur.training.divergence import DivergenceGuard
from tf_deepdeblur.training.gan import DeblurGAN
from tf_deepdeblur.training.initial_weights import describe_origin
from tf_deepdeblur.training.logs import Report
from tf_deepdeblur.training.precision import Precision, record_precision, training_precision
from tf_deepdeblur.training.run_folder import RunFolder
from tf_deepdeblur.training.setup import Data, build_model, learning_rate, open_data
from tf_deepdeblur.training.signals import stop_signals, time_limit
from tf_deepdeblur.training.start import restore_or_initialise
from tf_deepdeblur.training.strategy import is_chief, make_strategy
from tf_deepdeblur.training.validation import Validation
from tf_deepdeblur.training.workers import Workers

# What TensorFlow raises in a step that another worker does not come to, depending on how that one was lost.
_LOST_WORKER = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


def train(config: TrainConfig, on_end: Callable[[InputError], None] = lambda error: None) -> dict[str, Any]:
    """Trains, or goes on training, what a configuration describes.

    SIGTERM and Ctrl-C end the run after the current step with a checkpoint; with several workers all of them.

    Args:
        config: TrainConfig.
        on_end: called from another thread when another worker is lost or fails, with the error that this process
            should end with, now: TensorFlow may take its time to give up the step, and ``train`` raises that error
            only then.

    Returns:
        A dict: "step", the steps done, and where there are validation frames "psnr", "ssim", "blurry_psnr" and
        "blurry_ssim", the means over them after and before deblurring. Workers that are not the chief return the step
        alone.

    Raises:
        InputError: naming the file or argument and the remedy, also if another training is writing to the run folder;
            every checkpoint written before it stays.
        TemporaryError: naming the worker that is lost or did not come.
    """
    folder = RunFolder(config.run_dir)
    folder.changes(config)  # refuses another model before anything else is done
    has_workers = config.runtime.strategy == "multi_worker"
    cluster = find_cluster() if has_workers else ALONE
    data = open_data(config)
    facts = facts_to_agree_on(config, data) if has_workers else {}

    def end(error):
        on_end(with_remedy(error, folder))

    try:
        with Workers(cluster, facts, config.runtime.worker_timeout, end) as workers, _plain_errors(folder, workers):
            return _train(config, folder, data, workers)
    except TemporaryError as error:
        raise with_remedy(error, folder) from error


def _train(config, folder, data, workers):
    """``train`` when all workers are there."""
    if config.runtime.deterministic:
        tf.config.experimental.enable_op_determinism()
    connecting = contextlib.nullcontext()
    if workers.count > 1:
        lost = with_remedy(TemporaryError("another worker was lost before TensorFlow had connected them"), folder)
        connecting = time_limit(config.runtime.worker_timeout, str(lost))
    with connecting:
        strategy = make_strategy(config.runtime.strategy, config.runtime.virtual_devices)
    if config.optimizer.batch_size % strategy.num_replicas_in_sync:
        raise InputError(f"`batch_size` must be a multiple of the {strategy.num_replicas_in_sync} devices that train")
    precision = Precision(*workers.share(lambda: training_precision(config)))
    keras.utils.set_random_seed(config.runtime.seed)  # here, because measuring draws random numbers, too
    with strategy.scope():
        model = build_model(config, precision.policy)
    owned = folder.owned() if is_chief(strategy) else contextlib.nullcontext()
    with stop_signals() as stop, owned:
        return _Run(config, folder, strategy, model, data).train(stop, precision)


class _Run:
    """One call of ``train``: the state that its steps share."""

    def __init__(
        self, config: TrainConfig, folder: RunFolder, strategy: tf.distribute.Strategy, model: DeblurGAN, data: Data
    ):
        self._config = config
        self._folder = folder
        self._strategy = strategy
        self._model = model
        self._data = data
        self._samples = TrainingSamples(
            data.training, config.data.patch_size, config.runtime.seed, config.data.crops_per_image
        )
        self._is_chief = is_chief(strategy)
        self._has_workers = config.runtime.strategy == "multi_worker"
        self._checkpoints, self._first_step, self._origin = restore_or_initialise(config, folder, model)
        self._guard = DivergenceGuard(config.optimizer.divergence_factor, config.loss.content_loss)
        self._scores = {}
        self._report = None
        self._validation = None

    def train(self, stop: threading.Event, precision: Precision) -> dict[str, Any]:
        """Runs all steps that are left; see the module's ``train``."""
        if not self._is_chief:
            return {"step": self._train_steps(stop)}
        changes = self._folder.write_config(self._config, self._first_step)
        record_precision(self._folder, precision)
        if self._origin:
            write_atomically(self._folder.initial_weights, json.dumps(self._origin, indent=2) + "\n")
        optimizer = self._config.optimizer
        self._report = Report(self._folder, self._first_step, optimizer.total_steps, optimizer.batch_size)
        with contextlib.closing(self._report):
            if precision.reason:
                self._report.say(str(precision))
            if self._origin:
                self._report.say(describe_origin(self._origin))
            if changes:
                self._report.say(f"changed since last time: {describe_changes(changes)}")
            blurry_scores = {}
            if self._data.validation is None:
                self._report.say("no validation pairs (a test/ folder beside train/): there will be no evaluation")
            else:
                self._validation = Validation(self._data.validation, self._config.data.eval_images, self._model)
                blurry_scores = self._validation.blurry_scores()
            step = self._train_steps(stop)
            if step == self._first_step and self._validation is not None:
                self._scores = self._validation.run()[0]
            scores = {name: self._scores[name] for name in ("psnr", "ssim") if name in self._scores}
            return {"step": step, **scores, **blurry_scores}

    def _train_steps(self, stop):
        """The loop itself; returns the number of steps done."""
        step, total, stopped = self._first_step, self._config.optimizer.total_steps, False

        @tf.function
        def train_step(batch):
            self._strategy.run(self._model.train_step, args=(batch,))

        batches = iter(self._strategy.distribute_datasets_from_function(self._dataset))
        self._model.reset_metrics()
        while step < total and not stopped:
            batch = self._next(batches, step)
            train_step(batch)
            step += 1
            if step == self._first_step + 1:
                self._guard.remember(self._means())
            stopped = self._is_asked_to_stop(stop)
            self._after(step, batch, is_last=stopped or step == total)
        return step

    def _dataset(self, context):
        """This worker's batches, from the first step that is left to do."""
        workers = context.num_input_pipelines
        replicas = context.num_replicas_in_sync // workers
        optimizer = self._config.optimizer
        shard = Shard(optimizer.batch_size, workers, context.input_pipeline_id, replicas)
        return self._samples.batches(self._first_step, optimizer.total_steps, shard)

    def _next(self, batches, step):
        """The next batch; a file that cannot be read ends the run with its name and a checkpoint."""
        try:
            return next(batches)
        except tf.errors.OpError as error:
            if self._samples.error is None:
                raise
            if self._is_chief and step > self._first_step:
                if not self._has_workers:  # the others are not here to add up the losses
                    self._log(step)
                self._save(step)
            raise InputError(
                f"{self._samples.error}, then start the same command again: {step} steps are saved"
            ) from error

    def _is_asked_to_stop(self, stop):
        """Several workers must end after the same step, so there any worker's request counts, summed over all."""
        if not self._has_workers:
            return stop.is_set()
        return bool(self._sum(tf.constant(float(stop.is_set()))))

    @tf.function
    def _sum(self, value):
        """Of the values that all devices have; in a graph, as TensorFlow warns of collectives outside of one."""
        return self._strategy.reduce("sum", self._strategy.run(lambda: value), axis=None)

    def _after(self, step, batch, is_last):
        """Logs, evaluates and saves what is due after a step; logging and checking need all workers."""
        every = self._config.runtime
        evaluates = is_last or step % every.eval_every == 0
        saves = is_last or step % every.checkpoint_every == 0
        if self._is_chief:
            self._report.advance()
        if evaluates or saves or step % every.log_every == 0:
            self._log(step)
        if evaluates or saves:
            # What has been logged are losses before updates: the last one may have spoilt the weights.
            losses = {name: float(value) for name, value in self._losses(batch).items()}
            self._guard.check(step, losses, self._checkpoints.last_good)
        if evaluates and self._validation is not None:
            self._evaluate(step)
        if saves and self._is_chief:
            self._save(step)

    def _log(self, step):
        """Records the mean losses since the last record; absurd ones end the run."""
        means = self._means()
        self._model.reset_metrics()
        self._guard.check(step, means, self._checkpoints.last_good)
        self._guard.remember(means)
        if self._is_chief:
            rate = learning_rate(self._config.optimizer)(step - 1)
            self._report.losses(step, means, float(f"{rate:.6g}"))

    def _means(self):
        return {name: float(value) for name, value in self._model.get_metrics_result().items()}

    @tf.function
    def _losses(self, batch):
        """The losses of a batch with the weights as they are now, over all devices and workers."""
        model = self._model
        losses = self._strategy.run(lambda pair: model.compute_losses(model.trained_generator, *pair)[0], args=(batch,))
        return {name: self._strategy.reduce("mean", value, axis=None) for name, value in losses.items()}

    def _evaluate(self, step):
        self._scores, pictures = self._validation.run()
        self._report.evaluation(step, self._scores, pictures)
        if self._checkpoints.save_best(step, self._scores["psnr"]):
            self._folder.save_generator(self._model.generator, self._folder.best_generator)

    def _save(self, step):
        self._checkpoints.save(step)
        self._folder.save_generator(self._model.generator, self._folder.generator)


@contextlib.contextmanager
def _plain_errors(folder: RunFolder, workers: Workers) -> Iterator[None]:
    """Says what a lost worker, a full disk and a full device mean for the run."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{folder.path}: cannot be written ({error}). Make room, then start again") from error
    except tf.errors.ResourceExhaustedError as error:
        raise InputError(f"out of memory ({_first_line(error)}); use a smaller `batch_size` or `patch_size`") from error
    except _LOST_WORKER as error:
        if workers.count == 1:
            raise
        lost = workers.wait_for_error()
        raise (lost or TemporaryError(f"TensorFlow lost another worker ({_first_line(error)})")) from error


def _first_line(error):
    return str(error).strip().splitlines()[0]
