"""Repositories of models, on the Hugging Face Hub or in a folder: which files there are, and each of them, checked."""
