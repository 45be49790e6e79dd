"""Models on the Hugging Face Hub, on Kaggle or in a folder: which files there are, and each of them, checked."""
