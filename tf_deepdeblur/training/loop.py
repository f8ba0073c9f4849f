"""The training loop: from a configuration to a restored model on disk.

A thin loop around ``strategy.run(model.train_step)``, not ``Model.fit``, which fails under MultiWorkerMirroredStrategy
in Keras 3. It adds exact resume, safety against kills, and several workers; ``run_folder`` lists the files it writes.
"""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tf_deepdeblur.config import TrainConfig, describe_changes
from tf_deepdeblur.data.augment import adjust
from tf_deepdeblur.data.pipeline import Shard, TrainingSamples
from tf_deepdeblur.errors import InputError, TemporaryError, first_line
from tf_deepdeblur.io.atomic import write_atomically
from tf_deepdeblur.training.agreement import facts_to_agree_on, with_remedy
from tf_deepdeblur.training.divergence import DivergenceGuard
from tf_deepdeblur.training.gan import DeblurGAN
from tf_deepdeblur.training.initial_weights import describe_origin
from tf_deepdeblur.training.logs import Report
from tf_deepdeblur.training.precision import Precision, record_precision, training_precision
from tf_deepdeblur.training.run_folder import RunFolder
from tf_deepdeblur.training.setup import Sources, build_model, learning_rate_schedule, open_sources
from tf_deepdeblur.training.signals import StopRequest, stop_signals, time_limit
from tf_deepdeblur.training.start import restore_or_initialise
from tf_deepdeblur.training.strategy import describe_devices, is_chief, make_strategy
from tf_deepdeblur.training.validation import Validation
from tf_deepdeblur.training.worker_cluster import ALONE, find_cluster
from tf_deepdeblur.training.workers import Workers

# What TensorFlow raises in a step that another worker does not come to, depending on how that one was lost.
_LOST_WORKER = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


def train(config: TrainConfig, on_worker_lost: Callable[[InputError], None] = lambda error: None) -> dict[str, Any]:
    """Trains, or goes on training, what a configuration describes.

    SIGTERM and Ctrl-C end the run after the current step with a checkpoint; with several workers all of them.

    Args:
        config: TrainConfig.
        on_worker_lost: called from another thread as soon as another worker is lost or fails, with the error that this
            process should end with. ``train`` raises the same error, but only after TensorFlow abandons the step.

    Returns:
        A dict: "step", the steps done; "stopped_by", "SIGTERM" or "SIGINT", if that ended the run before its last step;
        and where there are validation frames "psnr" and "ssim", the means over them, unless the run was stopped, and
        "blurry_psnr" and "blurry_ssim", those before deblurring. Workers that are not the chief return no scores.

    Raises:
        InputError: naming the file or argument and the remedy, also if another training is writing to the run folder;
            every checkpoint written before it stays.
        TemporaryError: naming the worker that is lost or did not come.
    """
    folder = RunFolder(config.run_dir)
    folder.changes(config)  # refuses another model before anything else is done
    has_workers = config.runtime.strategy == "multi_worker"
    cluster = find_cluster() if has_workers else ALONE
    sources = open_sources(config)
    facts = facts_to_agree_on(config, sources) if has_workers else {}

    def end(error):
        on_worker_lost(with_remedy(error, folder))

    try:
        with Workers(cluster, facts, config.runtime.worker_timeout, end) as workers, _plain_errors(folder, workers):
            return _train(config, folder, sources, workers)
    except TemporaryError as error:
        raise with_remedy(error, folder) from error


def _train(config, folder, sources, workers):
    """``train`` when all workers are there."""
    if config.runtime.deterministic:
        tf.config.experimental.enable_op_determinism()
    connecting = contextlib.nullcontext()
    if workers.count > 1:
        lost = with_remedy(TemporaryError("another worker was lost before TensorFlow had connected them"), folder)
        connecting = time_limit(config.runtime.worker_timeout, str(lost))
    with connecting:
        strategy = make_strategy(config.runtime.strategy, config.runtime.virtual_devices)
    devices, batch_size = strategy.num_replicas_in_sync, config.optimizer.batch_size
    if batch_size % devices:
        raise InputError(
            f"{devices} devices cannot share `batch_size={batch_size}`: use a multiple of {devices}, "
            "`strategy=single`, or fewer GPUs (CUDA_VISIBLE_DEVICES)"
        )
    precision = Precision(*workers.share(lambda: training_precision(config)))
    keras.utils.set_random_seed(config.runtime.seed)  # here, because measuring draws random numbers, too
    with strategy.scope():
        model = build_model(config, precision.policy)
    owned = folder.owned() if is_chief(strategy) else contextlib.nullcontext()
    with stop_signals() as stop, owned:
        result = _Run(config, folder, strategy, model, sources).train(stop, precision)
    is_done = result["step"] >= config.optimizer.total_steps
    return result if is_done or stop.signal is None else {**result, "stopped_by": stop.signal}


class _Run:
    """One call of ``train``: the state that its steps share."""

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        strategy: tf.distribute.Strategy,
        model: DeblurGAN,
        sources: Sources,
    ):
        self._config = config
        self._folder = folder
        self._strategy = strategy
        self._model = model
        self._samples = TrainingSamples(
            sources.training, config.data.patch_size, config.runtime.seed, config.data.crops_per_image
        )
        self._is_chief = is_chief(strategy)
        self._has_workers = config.runtime.strategy == "multi_worker"
        self._checkpoints, self._first_step, self._origin = restore_or_initialise(config, folder, model)
        self._guard = DivergenceGuard(config.optimizer.divergence_factor, config.loss.content_loss)
        self._learning_rate = learning_rate_schedule(config.optimizer)
        self._scores = {}  # of the newest weights, if they were evaluated
        self._report: Report | None = None  # the chief's, while it trains
        self._validation = None
        if self._is_chief and sources.validation is not None:
            self._validation = Validation(sources.validation, config.data.eval_images, model)

    def train(self, stop: StopRequest, precision: Precision) -> dict[str, Any]:
        """Runs all steps that are left; see the module's ``train``."""
        if not self._is_chief:
            return {"step": self._train_steps(stop)}
        changes = self._folder.write_config(self._config, self._first_step)
        record_precision(self._folder, precision)
        if self._origin:
            write_atomically(self._folder.initial_weights, json.dumps(self._origin, indent=2) + "\n")
        elif not self._first_step:  # of a start that came to nothing
            self._folder.initial_weights.unlink(missing_ok=True)
        optimizer = self._config.optimizer
        self._report = Report(self._folder, self._first_step, optimizer.total_steps, optimizer.batch_size)
        with contextlib.closing(self._report):
            self._report.say(f"trains on {describe_devices(self._strategy)}")
            if precision.reason:
                self._report.say(str(precision))
            if self._origin:
                self._report.say(describe_origin(self._origin))
            if changes:
                self._report.say(f"changed since last time: {describe_changes(changes)}")
            blurry_scores = {}
            if self._validation is None:
                self._report.say("no validation pairs (a test/ folder beside train/): there will be no evaluation")
            else:
                blurry_scores = self._validation.blurry_scores()
            step = self._train_steps(stop)
            if step == self._first_step and self._validation is not None:
                self._scores = self._validation.run()[0]
            scores = {name: self._scores[name] for name in ("psnr", "ssim") if name in self._scores}
            return {"step": step, **scores, **blurry_scores}

    def _train_steps(self, stop):
        """The loop itself; returns the number of steps done."""
        step, total, stopped, batch = self._first_step, self._config.optimizer.total_steps, False, None

        @tf.function(autograph=False)
        def train_step(batch):
            self._strategy.run(lambda crops: self._model.train_step(adjust(*crops)), args=(batch,))

        batches = iter(self._strategy.distribute_datasets_from_function(self._dataset))
        self._model.reset_metrics()
        while step < total and not stopped:
            batch = self._next(batches, step, batch)
            train_step(batch)
            step += 1
            if step == self._first_step + 1:
                self._guard.remember(self._means())
            stopped = self._is_asked_to_stop(stop)
            self._after(step, batch, stopped)
        return step

    def _dataset(self, context):
        """This worker's crops, from the first step that is left to do."""
        workers = context.num_input_pipelines
        replicas = context.num_replicas_in_sync // workers
        optimizer = self._config.optimizer
        shard = Shard(optimizer.batch_size, workers, context.input_pipeline_id, replicas)
        return self._samples.crops(self._first_step, optimizer.total_steps, shard)

    def _next(self, batches, step, previous):
        """The next batch; a file that cannot be read ends the run with its name, and the chief's with a checkpoint."""
        try:
            return next(batches)
        except tf.errors.OpError as error:
            if self._samples.error is None:
                raise
            saved = f": {step} steps are saved" if self._is_chief else ""
            if self._is_chief and step > self._first_step:
                if not self._has_workers:  # the others are not here to add up the losses
                    self._log(step)
                self._check_weights(step, previous, alone=True)
                self._save(step)
            raise InputError(f"{self._samples.error}, then start the same command again{saved}") from error

    def _is_asked_to_stop(self, stop):
        """Several workers must end after the same step, so there any worker's request counts, summed over all."""
        if not self._has_workers:
            return stop.signal is not None
        return bool(self._sum(tf.constant(float(stop.signal is not None))))

    @tf.function(autograph=False)
    def _sum(self, value):
        """Of the values that all devices have; in a graph, as TensorFlow warns of collectives outside of one."""
        return self._strategy.reduce("sum", self._strategy.run(lambda: value), axis=None)

    def _after(self, step, batch, stopped):
        """Logs, saves and evaluates what is due after a step; logging and checking need all workers."""
        runtime = self._config.runtime
        is_last = step == self._config.optimizer.total_steps
        saves = is_last or stopped or step % runtime.checkpoint_every == 0
        evaluates = is_last or (step % runtime.eval_every == 0 and not stopped)
        if self._is_chief:
            self._report.advance()
        if evaluates or saves or step % runtime.log_every == 0:
            self._log(step)
        if evaluates or saves:
            self._check_weights(step, batch)
        if saves and self._is_chief:
            self._save(step)
        self._scores = {}
        if evaluates and self._validation is not None:
            self._evaluate(step)

    def _log(self, step):
        """Records the mean losses since the last record; absurd ones end the run."""
        means = self._means()
        self._model.reset_metrics()
        self._guard.check(step, means, self._checkpoints.last_good)
        self._guard.remember(means)
        if self._is_chief:
            self._report.losses(step, means, float(f"{self._learning_rate(step - 1):.6g}"))

    def _means(self):
        return {name: float(value) for name, value in self._model.get_metrics_result().items()}

    def _check_weights(self, step, batch, alone=False):
        """Ends the run if the last update has ruined the weights: logged losses predate it."""
        losses = {name: float(value) for name, value in self._losses(batch, alone).items()}
        self._guard.check(step, losses, self._checkpoints.last_good)

    @tf.function(autograph=False)
    def _losses(self, batch, alone):
        """The losses of a batch with the weights as they are now, over all devices, and workers unless ``alone``."""

        def compute_losses(crops):
            return self._model.compute_losses(self._model.trained_generator, *adjust(*crops))[0]

        losses = self._strategy.run(compute_losses, args=(batch,))
        if alone:
            return {name: tf.reduce_mean(self._strategy.experimental_local_results(v)) for name, v in losses.items()}
        return {name: self._strategy.reduce("mean", value, axis=None) for name, value in losses.items()}

    def _evaluate(self, step):
        try:
            self._scores, pictures = self._validation.run()
        except InputError as error:
            self._save(step)
            raise InputError(f"{error}; {step} steps are saved") from error
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
        if not _is_about(folder, error):
            raise
        raise InputError(f"{folder.path}: cannot be written ({error}). Make room, then start again") from error
    except tf.errors.ResourceExhaustedError as error:
        raise InputError(f"out of memory ({first_line(error)}); use a smaller `batch_size` or `patch_size`") from error
    except _LOST_WORKER as error:
        if workers.count == 1:
            raise
        lost = workers.wait_for_error()
        raise (lost or TemporaryError(f"TensorFlow lost another worker ({first_line(error)})")) from error


def _is_about(folder, error):
    """Whether an OSError is one of writing to the run folder; those of a full disk may name no file."""
    if error.filename is None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
    return Path(os.fsdecode(error.filename)).absolute().is_relative_to(folder.path.absolute())
