"""Names of what a program of Keras leaves. The programs load this file by its path: it imports nothing."""

# The headless net, from preprocessed pictures; photos, these after preprocessing, and what Keras makes of them; and how
# it went.
NET, REFERENCE, ANSWER = "net.onnx", "reference.npz", "answer.json"
