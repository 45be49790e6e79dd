"""A plain Keras script over GloVe, as the guides do it, to compare with; it runs alone and imports no fxengine.

python bench/words_guide.py reviews.csv glove.6B.50d.txt [--text text] [--label label] [--split split]
                            [--net bilstm|average] [--trainable] [--length 200] [--epochs 15] [--seed 0] [-o FILE]

https://keras.io/examples/nlp/pretrained_word_embeddings/: `TextVectorization` adapted to the training rows (its 20,000
most frequent words, 200 words a text), GloVe's vectors in an `Embedding` that stays frozen, words without one zeros.
https://keras.io/examples/nlp/bidirectional_lstm_imdb/: a bidirectional LSTM of 64 units (one layer here), adam, batches
of 32; padding is masked, as https://keras.io/guides/understanding_masking_and_padding/ says. Dropout and a dense head
behind it, early stopping with the best weights. The column `split` of the table says train, val or test.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

_WORDS, _LENGTH, _UNITS, _DROPOUT, _BATCH = 20_000, 200, 64, 0.5, 32
_SIDES = ("train", "val", "test")


def read_glove(path: Path) -> dict[str, np.ndarray]:
    """Return word -> vector, as the guide reads it."""
    found = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            word, values = line.split(maxsplit=1)
            found[word] = np.fromstring(values, "f", sep=" ")
    return found


def embedding(words: list[str], vectors: dict[str, np.ndarray], trainable: bool) -> keras.Layer:
    """Return the layer of the guide: a row for every word, of zeros for padding and for words without a vector."""
    dim = len(next(iter(vectors.values())))
    table = np.zeros((len(words), dim), np.float32)
    for i, word in enumerate(words):
        if word in vectors:
            table[i] = vectors[word]
    layer = keras.layers.Embedding(len(words), dim, trainable=trainable, mask_zero=True)
    layer.build((1,))
    layer.set_weights([table])
    return layer


def net(vectorization: Any, words: keras.Layer, kind: str, classes: int) -> keras.Model:
    """Return the model from texts to classes."""
    texts = keras.Input((1,), dtype="string")
    x = words(vectorization(texts))
    if kind == "bilstm":
        x = keras.layers.Bidirectional(keras.layers.LSTM(_UNITS))(x)
    else:
        x = keras.layers.Dense(_UNITS, activation="relu")(keras.layers.GlobalAveragePooling1D()(x))
    x = keras.layers.Dropout(_DROPOUT)(x)
    return keras.Model(texts, keras.layers.Dense(classes, activation="softmax")(x))


def main() -> None:
    """Train, evaluate on the test rows, and print or write what came out as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("glove", type=Path)
    for name in ("text", "label", "split"):
        parser.add_argument(f"--{name}", default=name, help="a column")
    parser.add_argument("--net", default="bilstm", choices=("bilstm", "average"))
    parser.add_argument("--trainable", action="store_true", help="train the vectors of the words, too")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--patience", type=int, default=4)
    parser.add_argument("--length", type=int, default=_LENGTH, help="words that every text is cut or padded to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    begin = time.perf_counter()
    keras.utils.set_random_seed(options.seed)
    with options.table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    classes = sorted({row[options.label] for row in rows})
    sides = {side: [row for row in rows if row[options.split] == side] for side in _SIDES}
    texts = {side: np.array([row[options.text] for row in found], object) for side, found in sides.items()}
    y = {side: np.array([classes.index(row[options.label]) for row in found]) for side, found in sides.items()}
    vectorization = keras.layers.TextVectorization(max_tokens=_WORDS, output_sequence_length=options.length)
    vectorization.adapt(tf.data.Dataset.from_tensor_slices(texts["train"]).batch(128))
    vectors = read_glove(options.glove)
    layer = embedding(vectorization.get_vocabulary(), vectors, options.trainable)
    read = time.perf_counter() - begin
    model = net(vectorization, layer, options.net, len(classes))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    stop = keras.callbacks.EarlyStopping(patience=options.patience, restore_best_weights=True)
    data = {side: tf.data.Dataset.from_tensor_slices((texts[side].astype(str)[:, None], y[side])) for side in _SIDES}
    history = model.fit(
        data["train"].shuffle(len(y["train"]), seed=options.seed).batch(_BATCH),
        validation_data=data["val"].batch(_BATCH),
        epochs=options.epochs,
        callbacks=[stop],
        verbose=0,
    ).history
    accuracy = {side: float(model.evaluate(data[side].batch(_BATCH), verbose=0)[1]) for side in ("val", "test")}
    found = {
        "validation_accuracy": accuracy["val"],
        "test_accuracy": accuracy["test"],
        "test_rows": len(y["test"]),
        "epochs": len(history["loss"]),
        "seconds_of_reading": round(read, 1),
        "seconds": round(time.perf_counter() - begin, 1),
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }
    if options.output is not None:
        options.output.write_text(json.dumps(found))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
