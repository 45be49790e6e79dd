"""What a net of texts is fed with behind the contract's inputs, against what its makers feed it by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fxengine.backbones.graph.run import open_plain
from fxengine.backbones.graph.text_net import NET, Feed, assembled, fed_by_hand, head, of_tokens, problem_of
from fxengine.backbones.graph.texts import text_inputs
from fxengine.backbones.spec import LENGTHS_INPUT, SPANS_OUTPUT, TOKENS_INPUT

INT, SHORT, FLOAT = TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT
KINDS = {"input_ids": INT, "attention_mask": FLOAT, "token_type_ids": SHORT, "position_ids": INT}
TEXTS = [np.array(row, np.int32) for row in ([7, 8, 9], [5], [3, 4, 5, 6])]


def fed(feed: Feed) -> list[np.ndarray]:
    """Return what the net is fed with for `TEXTS` side by side, padded with a number that is no token's."""
    made = head(feed)
    outputs = [helper.make_tensor_value_info(NET + name, kind, None) for name, kind in feed.kinds.items()]
    graph = helper.make_graph(made.nodes, "fed", text_inputs(), outputs, made.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return list(open_plain(model).run(None, side_by_side()))


def side_by_side() -> dict[str, np.ndarray]:
    lengths = np.array([len(text) for text in TEXTS], np.int32)
    tokens = np.full((len(TEXTS), lengths.max()), 99, np.int32)
    for row, text in zip(tokens, TEXTS, strict=True):
        row[: len(text)] = text
    return {TOKENS_INPUT: tokens, LENGTHS_INPUT: lengths}


@pytest.mark.parametrize("fixed", [None, 6])
@pytest.mark.parametrize("sees_pads", [False, True])
def test_a_text_is_fed_as_by_hand(fixed: int | None, sees_pads: bool) -> None:
    feed = Feed(KINDS, pad=2, fixed=fixed, sees_pads=sees_pads)
    found = dict(zip(KINDS, fed(feed), strict=True))
    for i, text in enumerate(TEXTS):
        alone = fed_by_hand(feed, [text])
        there = len(text) if fixed is None else fixed
        for name, values in found.items():
            assert values.dtype == alone[name].dtype
            np.testing.assert_array_equal(values[i, :there], alone[name][0], err_msg=name)
    behind = found["input_ids"][1, 1:]
    assert (behind == 2).all()  # the padding of the net, and not of who put the texts side by side
    assert found["attention_mask"][1, 1:].all() == sees_pads


def test_what_is_fed_has_the_values_of_its_makers() -> None:
    ids, mask, types, places = fed(Feed(KINDS, pad=1, fixed=None, sees_pads=False))
    assert ids.tolist() == [[7, 8, 9, 1], [5, 1, 1, 1], [3, 4, 5, 6]]
    assert mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert types.tolist() == [[0] * 4] * 3
    assert places.tolist() == [[0, 1, 2, 3]] * 3
    ids, mask, _, places = fed(Feed(KINDS, pad=1, fixed=5, sees_pads=False))
    assert ids.tolist() == [[7, 8, 9, 1, 1], [5, 1, 1, 1, 1], [3, 4, 5, 6, 1]]
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 0]]
    assert places.tolist() == [[0, 1, 2, 3, 4]] * 3


@pytest.mark.parametrize("fixed", [None, 6])
def test_what_a_net_gives_each_token_is_as_long_as_the_longest_text(fixed: int | None) -> None:
    feed = Feed({"input_ids": INT}, pad=0, fixed=fixed, sees_pads=False)
    table = np.random.default_rng(0).normal(0, 1, (10, 3)).astype(np.float16)
    net = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["said"], name="gather")],
        "net",
        [helper.make_tensor_value_info("input_ids", INT, ["batch", fixed or "length"])],
        [helper.make_tensor_value_info("said", TensorProto.FLOAT16, ["batch", fixed or "length", 3])],
        [onnx.numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(net, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made = assembled(model, feed, [of_tokens(feed, f"{NET}said", SPANS_OUTPUT, "fx_post/")], {SPANS_OUTPUT: 3})
    onnx.checker.check_model(made)
    (found,) = open_plain(made).run([SPANS_OUTPUT], side_by_side())
    assert found.shape == (3, 4, 3)
    assert found.dtype == np.float32
    for i, text in enumerate(TEXTS):
        np.testing.assert_array_equal(found[i, : len(text)], table[text].astype(np.float32))


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (KINDS, ""),
        ({"text": SHORT}, ""),
        ({"input_ids": INT, "pixel_values": FLOAT}, "takes pixel_values besides token ids"),
        ({"attention_mask": INT}, "takes no token ids"),
        ({"input_ids": FLOAT}, "takes input_ids as float"),
    ],
)
def test_inputs_that_are_no_texts_are_told(kinds: dict[str, int], said: str) -> None:
    assert problem_of(kinds).startswith(said)
    assert bool(problem_of(kinds)) == bool(said)
