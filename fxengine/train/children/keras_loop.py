"""The training loop of Keras, for the training process only: a `training.Loop`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Job = dict[str, Any]
Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass
class KerasLoop:
    """A model, the rows that it learns, how these become its inputs, and what changes them in an epoch.

    `training` is the module training.py.
    """

    model: keras.Model
    data: Any
    inputs: Callable[[tf.Tensor, Change | None], tf.Tensor]
    change_of: Callable[[Job, int], Change | None]
    training: Any
    out_of_memory: tuple[type[Exception], ...] = field(default=(tf.errors.ResourceExhaustedError,))

    def weights(self) -> list[np.ndarray]:
        """Return all weights."""
        found: list[np.ndarray] = self.model.get_weights()
        return found

    def put(self, weights: Sequence[np.ndarray]) -> None:
        """Set all weights."""
        self.model.set_weights(weights)

    def begin(self, state: Any, settings: Job) -> None:
        """Give the model a fresh optimizer and its loss."""
        t = self.training
        steps = t.steps_of(self.data, state, settings)
        warm = t.warm_steps(steps)
        rate = keras.optimizers.schedules.CosineDecay(
            state.rate / 100, max(1, steps - warm), alpha=0.01, warmup_target=state.rate, warmup_steps=warm
        )
        more = {"gradient_accumulation_steps": state.accumulate} if state.accumulate > 1 else {}
        make: Callable[[], keras.optimizers.Optimizer] = {
            "adamw": lambda: keras.optimizers.AdamW(rate, weight_decay=t.WEIGHT_DECAY, epsilon=t.EPSILON, **more),
            "sgd": lambda: keras.optimizers.SGD(rate, momentum=t.MOMENTUM, nesterov=True, **more),
            "rmsprop": lambda: keras.optimizers.RMSprop(rate, rho=t.RHO, epsilon=t.EPSILON, **more),
        }[settings["optimizer"]]
        smoothing = settings["label_smoothing"]
        loss: Callable[[], keras.Loss] = {
            "classes": lambda: keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing),
            "labels": lambda: keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing),
            "numbers": keras.losses.MeanSquaredError,
        }[self.data.kind]
        self.model.compile(optimizer=make(), loss=loss(), jit_compile=False)  # XLA compiles for minutes on a processor
        self.model.optimizer.build(self.model.trainable_variables)

    def optimizer(self) -> list[np.ndarray]:
        """Return the optimizer's variables."""
        return [np.asarray(variable) for variable in self.model.optimizer.variables]

    def put_optimizer(self, values: Sequence[np.ndarray]) -> None:
        """Set the optimizer's variables."""
        for variable, value in zip(self.model.optimizer.variables, values, strict=True):
            variable.assign(value)

    def epoch(self, rows: np.ndarray, state: Any, settings: Job, tell: Callable[[], None]) -> float:
        """Train on rows in their order; return the loss."""
        inputs = self._batches(rows, state.batch, self.change_of(settings, state.epoch))
        reseed(self.model, settings["seed"], state.epoch)
        told = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: tell())
        watch = [told, keras.callbacks.TerminateOnNaN()]
        return float(self.model.fit(inputs, epochs=1, verbose=0, callbacks=watch).history["loss"][0])

    def answers(self, rows: np.ndarray, batch: int) -> np.ndarray:
        """Return the logits of rows, float32 [rows, outputs]."""
        order = self.data.alike(rows)
        found = self.model.predict(self._batches(rows[order], batch).map(lambda x, y, w: x), verbose=0)
        return np.asarray(found[np.argsort(order)], np.float32)

    def log(self, folder: str, epoch: int, row: dict[str, float]) -> None:
        """Write the numbers of an epoch for TensorBoard; tf.summary.scalar would want it installed."""
        writer = tf.summary.create_file_writer(folder)
        for name, value in row.items():
            tf.raw_ops.WriteScalarSummary(writer=writer._resource, step=epoch, tag=name, value=float(value))
        writer.close()

    def _batches(self, rows: np.ndarray, batch: int, change: Change | None = None) -> tf.data.Dataset:
        """Return a tf.data pipeline of (inputs, targets, weights), in the order of `rows`."""

        def read(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return self.inputs(chosen, change), tf.gather(targets, chosen), tf.gather(weight, chosen)

        targets, weight = tf.constant(self.data.targets), tf.constant(self.data.weight)
        parts = tf.data.Dataset.from_tensor_slices(rows).batch(batch)
        return parts.map(read, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Begin the random numbers of every layer anew, so that a training that goes on has those of a whole one."""
    states = [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
    for i, variable in enumerate(states):
        variable.assign(np.random.default_rng([seed, epoch, i]).integers(0, 2**32, 2, np.uint32))
