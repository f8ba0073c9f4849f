"""Training from a configuration to a restored model on disk: the only place that puts the parts together.

The loop is a thin one around ``strategy.run(model.train_step)``, not ``Model.fit``, which fails under
MultiWorkerMirroredStrategy in Keras 3. A run folder holds

    config.cfg                      the flags, written before the first step
    checkpoints/last, best          see ``checkpoint.py``; starting again with the same folder resumes
    metrics.jsonl, tensorboard/     losses, learning rate, speed, held-out PSNR and SSIM
    samples/                        blurry | restored | sharp
    generator.keras                 the newest weights (their average, if one is kept), at every checkpoint
    generator_best.keras            the weights with the highest held-out PSNR
"""

import contextlib
import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf
from tqdm import tqdm

from tf_deepdeblur.config import changed_model_flags, flag_values, read_flagfile, to_flagfile
from tf_deepdeblur.data.datasets import open_dataset
from tf_deepdeblur.data.packed import PackedStore, verify
from tf_deepdeblur.data.pairs import PairFolder
from tf_deepdeblur.data.pipeline import Shard, TrainingSamples
from tf_deepdeblur.errors import InputError
from tf_deepdeblur.io.atomic import locked
from tf_deepdeblur.models.discriminator import MIN_PATCH_SIZE, Discriminator
from tf_deepdeblur.models.generator import Generator
from tf_deepdeblur.models.saving import save_generator
from tf_deepdeblur.runtime import choose_precision
from tf_deepdeblur.synthesis.demo import make_demo_dataset
from tf_deepdeblur.training.checkpoint import Checkpoints
from tf_deepdeblur.training.gan import DeblurGAN
from tf_deepdeblur.training.logs import Report
from tf_deepdeblur.training.schedule import step_decay
from tf_deepdeblur.training.signals import stop_signals
from tf_deepdeblur.training.strategy import check_cluster, is_chief, make_strategy
from tf_deepdeblur.training.validation import HeldOut


class Data(NamedTuple):
    """Sources of training and held-out pairs; ``held_out`` is None if the data set has no such part."""

    training: PairFolder | PackedStore
    held_out: PairFolder | PackedStore | None


def train(config):
    """Trains, or goes on training, what a configuration describes.

    SIGTERM and Ctrl-C end the run after the current step with a checkpoint.

    Args:
        config: TrainConfig.

    Returns:
        A dict: "step", the steps done, and where there are held-out frames "psnr", "ssim", "blurry_psnr" and
        "blurry_ssim", the means over them after and before deblurring. Workers that are not the chief return the step
        alone.

    Raises:
        InputError: naming the file or flag and the remedy, also if another training is writing to the run folder;
            every checkpoint written before it stays.
    """
    _check_run_dir(config)
    data = open_data(config)
    keras.utils.set_random_seed(config.runtime.seed)
    if config.runtime.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = make_strategy(config.runtime.strategy, config.runtime.virtual_devices)
    if config.optimizer.batch_size % strategy.num_replicas_in_sync:
        raise InputError(f"--batch_size must be a multiple of the {strategy.num_replicas_in_sync} devices that train")
    with strategy.scope():
        model = build_model(config)
    own_folder = _own_run_dir(config) if is_chief(strategy) else contextlib.nullcontext()
    with stop_signals() as stop, _plain_errors(config), own_folder:
        return _Run(config, strategy, model, data).train(stop)


def describe(config):
    """What ``train`` would do: pairs, the first few of them, and the networks' sizes, as text; reads every image.

    Raises:
        InputError: as ``train`` does, for the data and the run folder.
    """
    _check_run_dir(config)
    if config.runtime.strategy == "multi_worker":
        check_cluster()
    data = open_data(config)
    _read_every_pair(config.data, data)
    model = build_model(config)
    lines = [f"training pairs: {len(data.training)}, for example"]
    lines += [f"  {pair.blurry} -> {pair.sharp}" for pair in data.training.pairs[:3]]
    lines += [f"held-out pairs: {len(data.held_out) if data.held_out else 'none'}"]
    lines += [f"generator: {model.generator.count_params():,} parameters, K = {config.model.num_scales}"]
    if model.discriminator is not None:
        lines += [f"discriminator: {model.discriminator.count_params():,} parameters"]
    precision = choose_precision(config.runtime.precision, training=True)
    lines += [f"precision: {precision}, steps: {config.optimizer.total_steps:,}"]
    return "\n".join(lines)


def _read_every_pair(config, data):
    """Raises InputError if an image of a folder cannot be read, or if one of a packed store has changed."""
    if config.dataset == "store":
        path = Path(config.data_dir).expanduser()
        damaged = verify(path)
        if damaged:
            names = ", ".join(damaged[:3])
            raise InputError(f"{path}: {len(damaged)} images are damaged, such as {names}; pack it again")
        return
    for source in filter(None, data):
        for index in tqdm(range(len(source)), desc="read every pair", unit="pair"):
            source.read_pair(index)


def open_data(config):
    """Finds and checks all pairs of a configuration; makes the demo's data set if that is wanted."""
    data = config.data
    if data.dataset == "demo":
        folder = data.data_dir or make_demo_dataset(Path(config.run_dir).expanduser() / "data")
        data = replace(data, dataset="pairs", data_dir=str(folder))
    smallest = MIN_PATCH_SIZE if config.adversarial else 1
    return Data(
        *open_dataset(data.dataset, data.data_dir, data.blur_key, data.patch_size, smallest, data.crops_per_image)
    )


def build_model(config):
    """A compiled DeblurGAN; call it inside the strategy's scope."""
    if config.adversarial and config.data.patch_size < MIN_PATCH_SIZE:
        raise InputError(
            f"the discriminator needs --patch_size={MIN_PATCH_SIZE} or more, got {config.data.patch_size}; "
            "use larger patches or --adversarial_weight=0"
        )
    precision = choose_precision(config.runtime.precision, training=True)
    shape = {**vars(config.model), "dtype": precision}
    model = DeblurGAN(
        Generator(**shape),
        Discriminator(dtype=precision) if config.adversarial else None,
        average=Generator(**shape) if config.averages_weights else None,
        ema_decay=config.optimizer.ema_decay,
        content_error=config.loss.content_loss,
        adversarial_weight=config.loss.adversarial_weight,
        adversarial_form=config.loss.adversarial_loss,
    )
    model.compile(_learning_rate(config), loss_scaling=precision == "mixed_float16")
    return model


class _Run:
    """One call of ``train``: the state that its steps share."""

    def __init__(self, config, strategy, model, data):
        self._config = config
        self._strategy = strategy
        self._model = model
        self._data = data
        self._samples = TrainingSamples(
            data.training, config.data.patch_size, config.runtime.seed, config.data.crops_per_image
        )
        self._run_dir = Path(config.run_dir).expanduser()
        self._is_chief = is_chief(strategy)
        self._checkpoints = Checkpoints(self._run_dir / "checkpoints", model)
        self._first_step = self._checkpoints.restore()
        if not self._first_step and (self._run_dir / "generator.keras").exists():
            raise InputError(
                f"{self._run_dir}: holds a trained network but no checkpoint to go on from; use a new --run_dir"
            )
        self._losses = []
        self._scores = {}
        self._report = None
        self._held_out = None

    def train(self, stop):
        """Runs all steps that are left; see the module's ``train``."""
        if not self._is_chief:
            return {"step": self._train_steps(stop)}
        optimizer = self._config.optimizer
        self._report = Report(self._run_dir, self._first_step, optimizer.total_steps, optimizer.batch_size)
        with contextlib.closing(self._report):
            blurry_scores = self._open_held_out()
            step = self._train_steps(stop)
            if step == self._first_step and self._held_out is not None:
                self._scores = _quality(self._held_out.scores())
            return {"step": step, **self._scores, **blurry_scores}

    def _open_held_out(self):
        """Prepares the evaluation; returns the scores of the blurry frames as they are."""
        if self._data.held_out is None:
            self._report.say("no held-out pairs (a test/ folder beside train/): there will be no evaluation")
            return {}
        self._held_out = HeldOut(self._data.held_out, self._config.data.eval_images, self._model)
        return self._held_out.blurry_scores()

    def _train_steps(self, stop):
        """The loop itself; returns the number of steps done."""
        train_step = _distributed_step(self._strategy, self._model)
        batches = iter(self._batches())
        step, total, stopped = self._first_step, self._config.optimizer.total_steps, False
        while step < total and not stopped:
            losses = train_step(self._next(batches, step), tf.constant(float(stop.is_set())))
            step += 1
            stopped = self._is_asked_to_stop(losses.pop("stop"), stop)
            self._losses.append(losses)
            if self._is_chief:
                self._after(step, is_last=stopped or step == total)
        return step

    def _is_asked_to_stop(self, requests, stop):
        """Several workers must end after the same step, so there any worker's request counts, summed over all."""
        return bool(requests.numpy()) if self._config.runtime.strategy == "multi_worker" else stop.is_set()

    def _batches(self):
        optimizer = self._config.optimizer

        def dataset(context):
            workers = context.num_input_pipelines
            replicas = context.num_replicas_in_sync // workers
            shard = Shard(optimizer.batch_size, workers, context.input_pipeline_id, replicas)
            return self._samples.batches(self._first_step, optimizer.total_steps, shard)

        return self._strategy.distribute_datasets_from_function(dataset)

    def _next(self, batches, step):
        """The next batch; a file that cannot be read ends the run with its name and a checkpoint."""
        try:
            return next(batches)
        except tf.errors.OpError as error:
            if self._samples.error is None:
                raise
            if self._is_chief and step > self._first_step:
                self._save(step)
            raise InputError(
                f"{self._samples.error}, then start the same command again: {step} steps are saved"
            ) from error

    def _after(self, step, is_last):
        """Logs, evaluates and saves what is due after a step."""
        self._report.advance()
        every = self._config.runtime
        if is_last or step % every.log_every == 0:
            self._log(step)
        if self._held_out is not None and (is_last or step % every.eval_every == 0):
            self._evaluate(step)
        if is_last or step % every.checkpoint_every == 0:
            self._save(step)

    def _log(self, step):
        """Records the mean losses since the last record; a loss that is not finite ends the run."""
        rows = [{name: float(value) for name, value in row.items()} for row in self._losses]
        self._losses.clear()
        means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        broken = [name for name, value in means.items() if not math.isfinite(value)]
        if broken:
            raise InputError(
                f"{', '.join(broken)} is not finite at step {step}; {self._checkpoints.last_good}. "
                "Try a lower --learning_rate or --precision=float32"
            )
        self._report.losses(step, means, float(f"{_learning_rate(self._config)(step - 1):.6g}"))

    def _evaluate(self, step):
        if self._losses:
            self._log(step)
        scores = self._held_out.scores()
        self._report.evaluation(step, scores, self._held_out.triplets())
        if self._checkpoints.save_best(step, scores["psnr"]):
            self._save_generator("generator_best.keras")
        self._scores = _quality(scores)

    def _save(self, step):
        if self._losses:
            self._log(step)
        self._checkpoints.save(step)
        self._save_generator("generator.keras")

    def _save_generator(self, name):
        try:
            save_generator(self._model.deployed_generator, self._run_dir / name)
        except OSError as error:
            raise InputError(
                f"{self._run_dir / name}: could not be written ({error}); make room, then resume"
            ) from error


def _distributed_step(strategy, model):
    """tf.function: (batch, stop) -> losses over all replicas, with ``stop`` summed over them."""

    def replica_step(batch, stop):
        return {**model.train_step(batch), "stop": tf.identity(stop)}

    @tf.function
    def step(batch, stop):
        per_replica = strategy.run(replica_step, args=(batch, stop))
        model.update_average()
        return {name: strategy.reduce("sum", value, axis=None) for name, value in per_replica.items()}

    return step


def _quality(scores):
    return {name: scores[name] for name in ("psnr", "ssim")}


def _learning_rate(config):
    optimizer = config.optimizer
    return step_decay(optimizer.learning_rate, optimizer.decay_steps, optimizer.decay_rate)


def _check_run_dir(config):
    """Refuses to resume a run of another model."""
    path = Path(config.run_dir).expanduser() / "config.cfg"
    if path.exists():
        saved = read_flagfile(path.read_text(errors="replace"))
        if not saved.keys() >= flag_values(config.model).keys():
            raise InputError(f"{path}: is damaged; restore it or use a new --run_dir")
        changed = changed_model_flags(saved, config)
        if changed:
            raise InputError(f"{path.parent} holds another model ({'; '.join(changed)}); use a new --run_dir")


@contextlib.contextmanager
def _own_run_dir(config):
    """Makes the run folder, writes config.cfg, and keeps other trainings out until the block ends."""
    run_dir = Path(config.run_dir).expanduser()
    with contextlib.ExitStack() as stack:
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(run_dir))
            part = run_dir / "config.cfg.part"
            part.write_text(to_flagfile(config))
            part.replace(run_dir / "config.cfg")
        except OSError as error:
            raise InputError(f"{run_dir}: cannot be written ({error.strerror}); choose another --run_dir") from error
        yield


@contextlib.contextmanager
def _plain_errors(config):
    """Says what a full disk and a full device mean for the run."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{config.run_dir}: cannot be written ({error}). Make room, then start again") from error
    except tf.errors.ResourceExhaustedError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"out of memory ({reason}); use a smaller --batch_size or --patch_size") from error
