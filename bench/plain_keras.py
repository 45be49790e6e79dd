"""A plain Keras fine-tuning, as the guides do it, to compare with: `python plain_keras.py FOLDER`.

https://keras.io/guides/transfer_learning/: a frozen base with a new dense head, trained at 1e-3 for some epochs; then
everything unfrozen (batch norm in inference mode) and trained at 1e-5. FOLDER holds images.npy, arrays.npz, lite0.npz
and plain.json as bench/finetune.py writes them; the result goes into result.json.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

_NETS = Path(__file__).resolve().parent.parent / "fxengine" / "train" / "children" / "nets_child.py"


def main(folder: Path) -> None:
    """Train and write what every epoch gave."""
    order = json.loads((folder / "plain.json").read_text())
    keras.utils.set_random_seed(order["seed"])
    spec: Any = importlib.util.spec_from_file_location("nets_child", _NETS)
    nets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(nets)
    images = np.load(folder / "images.npy")
    with np.load(folder / "arrays.npz") as arrays:
        y, split = arrays["targets"].argmax(axis=1), arrays["split"]
    with np.load(folder / "lite0.npz") as weights:
        base = nets.efficientnet_lite0(dict(weights), order["stages"], images.shape[1:3])
    parts = [tf.data.Dataset.from_tensor_slices((images[split == s], y[split == s])) for s in (0, 1, 2)]
    train = parts[0].shuffle(1000).batch(16).prefetch(2)
    validation, test = (part.batch(16) for part in parts[1:])

    inputs = keras.Input(images.shape[1:])
    x = keras.layers.RandomFlip("horizontal")(inputs)
    x = keras.layers.RandomRotation(0.1)(x)
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128)(x)
    base.trainable = False
    x = keras.layers.Dropout(0.2)(base(x, training=False))
    model = keras.Model(inputs, keras.layers.Dense(int(y.max()) + 1)(x))

    history: list[dict[str, float]] = []
    begin = time.perf_counter()

    def note(epoch: int, logs: Any = None) -> None:
        history.append({"seconds": round(time.perf_counter() - begin, 2), "validation_accuracy": logs["val_accuracy"]})

    watch = keras.callbacks.LambdaCallback(on_epoch_end=note)
    for rate in (1e-3, 1e-5):
        base.trainable = rate == 1e-5
        model.compile(
            keras.optimizers.Adam(rate),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=False,
        )
        model.fit(train, validation_data=validation, epochs=order["epochs"], verbose=0, callbacks=[watch])
    seconds = time.perf_counter() - begin
    accuracy = float(model.evaluate(test, verbose=0)[1])
    (folder / "result.json").write_text(
        json.dumps({"test_accuracy": accuracy, "seconds": round(seconds, 1), "history": history})
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
