"""The CNN method of imagededup over a folder, by the net that fxengine embeds, in the environment of bench/setup-peers.

.venv-peers/bin/python bench/cnn_peer.py FOLDER VECTORS.npy

Writes the vectors, float32 [n, dim], and prints JSON: their files' paths below the folder, and the seconds of encoding
and of finding what is nearer than its own default threshold, 0.9.
"""

from __future__ import annotations

import json
import runpy
import sys
import time
from pathlib import Path

import numpy as np
import torch
from imagededup.methods import CNN
from imagededup.utils import CustomModel
from torchvision import transforms

peer = runpy.run_path(str(Path(__file__).with_name("peer.py")))


def main(folder: Path, target: Path) -> None:
    """Encode the pictures, look for duplicates, and say how long it took."""
    torch.set_num_threads(peer["CORES"])
    scale = transforms.Normalize([127 / 255] * 3, [128 / 255] * 3)
    steps = [transforms.Resize(256, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(224)]
    net = peer["torch_net"]("efficientnet_lite0")
    model = CustomModel("lite0", net, transforms.Compose([*steps, transforms.ToTensor(), scale]))
    method = CNN(verbose=False, model_config=model)
    start = time.perf_counter()
    encodings = method.encode_images(image_dir=str(folder), recursive=True)
    encoded = time.perf_counter()
    method.find_duplicates(encoding_map=encodings, min_similarity_threshold=0.9)
    seconds = {"encode": encoded - start, "find": time.perf_counter() - encoded}
    keys = sorted(encodings)
    np.save(target, np.stack([np.asarray(encodings[key], np.float32).ravel() for key in keys]))
    print(json.dumps({"keys": keys, "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
