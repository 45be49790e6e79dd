"""Names of what a fine-tuning writes. The training process loads this file by its path: it imports nothing."""

# Beside NET.onnx: its head, the folder of its run, and that of `fit`.
HEAD, RUN, FIT = ".head.onnx", ".run", ".fit"

# In the folder of `fit`, beside the store of its pictures: the probe's head, the tuned net, and what was done.
PROBE, TUNED, REPORT = "head.onnx", "tuned.onnx", "report.json"

# In the run's folder: what it is and found, the store of its pictures, and what people look at.
RECORD, FEATURES, TENSORBOARD = "run.json", "features", "tensorboard"
PAGE, CURVES, CONFUSION = "report.html", "curves.png", "confusion.png"

# In the folder in it that goes when the run is finished. What the training process is given: pictures, targets (of
# texts also their words), photos to compare the export by, what the net makes of these before it is trained, and the
# vectors of words;
WORK = "work"
IMAGES, ARRAYS, PHOTOS, EXPECTED, TABLE = "images.npy", "arrays.npz", "photos.npy", "expected.npy", "table.npy"
# and what it leaves, beside the files of an export.
CHECKPOINT, PROGRESS, OUTPUTS, SAMPLES = "checkpoint.npz", "progress.jsonl", "outputs.npz", "samples.npy"
BEFORE = "checkpoint.before.npz"
