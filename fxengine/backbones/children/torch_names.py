"""The program that lists nets with weights as JSON: `python torch_names.py timm`, or torchvision."""

from __future__ import annotations

import json
import sys


def names(library: str) -> list[str]:
    """Return the names of a library's nets of pictures, each with its weights, as a source takes them."""
    if library == "timm":
        import timm

        return list(timm.list_models(pretrained=True))
    from torchvision import models

    nets = models.list_models(module=models)
    return [f"{net}:{weights.name}" for net in nets for weights in models.get_model_weights(net)]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(names(sys.argv[1])))
