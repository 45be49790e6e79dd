"""Word vectors as a backbone: its numbers are those of numpy, its options change what they say, and no more."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from fxengine import Backbone, InputError, export
from fxengine.backbones import load_backbone, source_name
from fxengine.backbones.graph.external_data import MAX_BYTES
from fxengine.backbones.options import ExportOptions
from fxengine.backbones.sources import from_vectors
from fxengine.backbones.spec import FEATURE_OUTPUT, TextRecipe
from tests.word_vectors import some_vectors, write_vectors

WORDS = ["the", "film", "good", "King", "king", "!", "n't", "is"]
VECTORS = some_vectors(len(WORDS))
ROW = dict(zip(WORDS, VECTORS, strict=True))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_vectors(tmp_path / "tiny.4d.txt", WORDS, VECTORS)


def test_a_text_is_the_mean_of_its_known_words(file: Path) -> None:
    found = Backbone.load(f"vectors:{file}").embed(["The film isn't good!", "king King zebra", "KING"])
    wanted = [
        np.mean([ROW[word] for word in ("the", "film", "is", "n't", "good", "!")], axis=0),
        np.mean([ROW["king"], ROW["King"]], axis=0),
        ROW["king"],
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_rule_of_keras_is_another_space(file: Path) -> None:
    plain = load_backbone(f"vectors:{file}")
    keras = load_backbone(f"vectors:{file}", ExportOptions(tokens="keras"))
    assert plain.fingerprint != keras.fingerprint
    found = Backbone.load(keras.path).embed(["The film isn't good!"])
    np.testing.assert_allclose(found[0], np.mean([ROW["the"], ROW["film"], ROW["good"]], axis=0), atol=1e-6)


def test_sif_weighs_words_by_zipf(file: Path) -> None:
    sif = load_backbone(f"vectors:{file}", ExportOptions(word_weights="sif"))
    harmonic = sum(1 / rank for rank in range(1, 9))
    weights = {word: 1e-3 / (1e-3 + 1 / (rank * harmonic)) for rank, word in enumerate(WORDS, 1)}
    found = Backbone.load(sif.path).embed(["the king"])
    wanted = (weights["the"] * ROW["the"] + weights["king"] * ROW["king"]) / 2
    np.testing.assert_allclose(found[0], wanted, rtol=1e-5)
    assert sif.facts.name == "tiny.4d+sif"
    assert sif.facts.notes["word_weights"] == "sif"


def test_only_the_first_words(file: Path) -> None:
    found = load_backbone(f"vectors:{file}", ExportOptions(words=3))
    assert (found.facts.parameters, found.facts.notes["words"]) == (12, 3)
    np.testing.assert_allclose(Backbone.load(found.path).embed(["good king"]), [ROW["good"]], atol=1e-6)


def test_what_it_says_of_itself(file: Path) -> None:
    facts = load_backbone(f"vectors:{file}").facts
    assert isinstance(facts.recipe, TextRecipe)
    assert (facts.recipe.kind, facts.recipe.max_tokens) == ("words", 16_384)
    assert (facts.name, facts.dim, facts.parameters, facts.pooling) == ("tiny.4d", 4, 32, "avg")
    assert (facts.licence, facts.metric) == ("not stated by the file", "cosine")
    assert facts.source.startswith("tiny.4d.txt (")


def test_what_is_behind_a_text_changes_nothing(file: Path) -> None:
    session = ort.InferenceSession(load_backbone(f"vectors:{file}").path)
    tokens, lengths = np.array([[1, 2, 7, 7], [0, 4, 2, 1]], np.int32), np.array([2, 4], np.int32)
    padded = session.run([FEATURE_OUTPUT], {"tokens": tokens, "lengths": lengths})[0]
    alone = session.run([FEATURE_OUTPUT], {"tokens": tokens[:1, :2], "lengths": lengths[:1]})[0]
    np.testing.assert_array_equal(padded[:1], alone)
    np.testing.assert_allclose(alone[0], VECTORS[[1, 2]].mean(axis=0), atol=1e-6)
    nothing = session.run([FEATURE_OUTPUT], {"tokens": tokens[:1], "lengths": np.zeros(1, np.int32)})[0]
    assert not nothing.any()


def test_the_same_words_elsewhere_are_the_same_space(file: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(file, "in/tiny.4d.txt")
        archive.writestr("other.txt", "a 1 2\n")
    source = f"vectors:{tmp_path}/all.zip#in/tiny.4d.txt"
    packed = load_backbone(source)
    assert packed.fingerprint == load_backbone(f"vectors:{file}").fingerprint
    assert packed.facts.name == "tiny.4d"
    assert source_name(source) == source


def test_a_source_is_recorded_with_the_whole_path(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_vectors(tmp_path / "a#b.txt", ["a"], some_vectors(1))
    assert source_name("vectors:tiny.4d.txt") == f"vectors:{file}"
    assert source_name("vectors:tiny.4d.txt#member") == f"vectors:{file}#member"
    assert source_name("vectors:a#b.txt") == f"vectors:{tmp_path}/a#b.txt"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (ExportOptions(tokens="spaces"), "There is no rule 'spaces' for `tokens`"),
        (ExportOptions(word_weights="idf"), "There is no `word_weights` 'idf'"),  # type: ignore[arg-type]
        (ExportOptions(words=0), "`words` must be at least 1"),
        (ExportOptions(layers=("x",), pooling="max"), "is a table: leave `layers`, `pooling` away"),
        (ExportOptions(size=(2, 2)), "is a table: leave `size` away"),
    ],
)
def test_options_that_are_none_are_refused(file: Path, options: ExportOptions, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_backbone(f"vectors:{file}", options)


def test_other_backbones_have_no_such_options(file: Path, tmp_path: Path) -> None:
    made = export(f"vectors:{file}", tmp_path / "net.onnx", word_weights="sif", words=5)
    assert made.file.facts.notes == {"words": 5, "tokens": "words", "word_weights": "sif"}
    assert made.report.parameters >= 20
    for source in (tmp_path / "net.onnx", "efficientnet_lite0", "onnx:net.onnx"):
        with pytest.raises(InputError, match=r"is no file of word vectors \(vectors:FILE\): leave `words` away"):
            export(source, tmp_path / "other.onnx", words=5)


def test_keys_of_the_cache_from_before_are_kept() -> None:
    assert "words" not in ExportOptions().to_dict()
    assert ExportOptions(words=3).to_dict()["words"] == 3
    assert ExportOptions().to_dict() | {"x": 1} == {
        "layers": (), "pooling": None, "logits": False, "size": None, "weights": "imagenet", "trust": False,
        "preprocess": None, "channels": None, "scale": None, "mean": None, "std": None, "resize": None, "x": 1,
    }  # fmt: skip


def test_what_fits_into_no_file_says_how_many_words_do(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_vectors, "_ROOM", MAX_BYTES - 200)
    with pytest.raises(InputError, match=r"over 2 GB as a backbone, .*: give `words` [1-7], for only its most"):
        load_backbone(f"vectors:{file}")


NAMES = ("[PAD]", "[UNK]", "the", "king", "##s", "film", "good")
TEXTS = ("The kings of good films", "good zebra good", "the film " * 300 + "king")


def static_folder(folder: Path, weights: bool, mapping: bool) -> tuple[Path, np.ndarray]:
    """Write a folder as model2vec writes it; return it, and the row of every token."""
    rng = np.random.default_rng(5)
    table = rng.normal(0, 1, (3 if mapping else len(NAMES), 6)).astype(np.float32)
    tensors = {"embeddings": table}
    rows = table
    if mapping:
        tensors["mapping"] = np.array([0, 1, 2, 2, 0, 1, 0], np.int64)
        rows = table[tensors["mapping"]]
    if weights:
        tensors["weights"] = rng.random(len(NAMES)).astype(np.float32)
        rows = rows * tensors["weights"][:, None]
    header, data = {}, b""
    for name, values in tensors.items():
        kind = "I64" if values.dtype == np.int64 else "F32"
        header[name] = {
            "dtype": kind, "shape": list(values.shape), "data_offsets": [len(data), len(data) + values.nbytes]
        }  # fmt: skip
        data += values.tobytes()
    folder.mkdir()
    said = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(said).to_bytes(8, "little") + said + data)
    tokenizer = tokenizers.Tokenizer(models.WordPiece({n: i for i, n in enumerate(NAMES)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[PAD] $A", special_tokens=[("[PAD]", 0)])
    tokenizer.enable_truncation(3)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text('{"normalize": true}')
    return folder, rows


@pytest.mark.parametrize(("weights", "mapping"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_folder_of_model2vec_gives_what_that_computes(tmp_path: Path, weights: bool, mapping: bool) -> None:
    folder, rows = static_folder(tmp_path / "m", weights, mapping)
    net = Backbone.load(f"vectors:{folder}")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(512)  # before unknown tokens are left out, as `StaticModel.tokenize` does
    ids = [[i for i in tokenizer.encode(text, add_special_tokens=False).ids if i != 1] for text in TEXTS]
    assert [*map(len, ids)] == [6, 2, 512]
    np.testing.assert_allclose(net.embed(TEXTS), [rows[each].mean(axis=0) for each in ids], atol=1e-5)
    assert np.isnan(net.embed(["zebra"])).all()  # a row with a reason, never zeros
    facts = net.file.facts
    assert isinstance(facts.recipe, TextRecipe)
    assert (facts.recipe.kind, facts.recipe.max_tokens, facts.metric, facts.name) == ("", 512, "cosine", "m")


@pytest.mark.parametrize("options", [ExportOptions(word_weights="sif"), ExportOptions(tokens="keras")])
def test_a_folder_of_model2vec_has_its_own_rule_and_weights(tmp_path: Path, options: ExportOptions) -> None:
    folder, _ = static_folder(tmp_path / "m", False, False)
    with pytest.raises(InputError, match=r"has a tokenizer and weights of its own: leave `(tokens|word_weights)` away"):
        load_backbone(f"vectors:{folder}", options)


def test_another_file_of_that_name_is_another_export(file: Path) -> None:
    first = load_backbone(f"vectors:{file}")
    write_vectors(file, WORDS, VECTORS * 2)
    second = load_backbone(f"vectors:{file}")
    assert first.fingerprint != second.fingerprint
    graph = onnx.load(second.path).graph
    assert [node.op_type for node in graph.node if node.name.startswith("fx_post/")] == [
        "Where", "Gather", "ReduceSum", "Cast", "Unsqueeze", "Max", "Div",
    ]  # fmt: skip


def test_real_glove_knows_film_reviews(shared_data: Callable[[str], Path]) -> None:
    file = shared_data("text") / "glove.6B.50d.first2446.utf8.txt"
    net = Backbone.load(f"vectors:{file}")
    film, game, bank = net.embed(["The film was very good.", "The game was won by a good team.", "banks and money"])
    unit = [each / np.linalg.norm(each) for each in (film, game, bank)]
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.1
