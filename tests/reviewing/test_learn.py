"""A round against scikit-learn, and what it says where there is little to learn from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import Ridge

from fxengine import FeatureStore, InputError, extract
from fxengine.features.moments import Block, collect
from fxengine.heads.classes import one_hot
from fxengine.heads.streams.closed_form import STRENGTHS
from fxengine.reviewing import learn as room
from fxengine.reviewing.labelling import Labelling
from fxengine.reviewing.learn import fit_ridge, learn, solve
from fxengine.reviewing.order import Nearness, most_different
from tests.stores import write_store


def made(n: int, dim: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.normal(size=(n, dim)) + 2 * rng.normal(size=(classes, dim))[y]
    return x / np.linalg.norm(x, axis=1, keepdims=True), y


@pytest.mark.parametrize(("n", "dim"), [(12, 40), (60, 10)])
def test_the_fit_and_its_rows_left_out_are_those_of_scikit_learn(n: int, dim: int) -> None:
    x, y = made(n, dim, 3)
    targets = np.eye(3)[y]
    errors, left_out = [], []
    for strength in STRENGTHS:
        scores = np.stack(
            [
                Ridge(alpha=strength).fit(np.delete(x, i, 0), np.delete(targets, i, 0)).predict(x[i : i + 1])[0]
                for i in range(n)
            ]
        )
        errors.append(((scores - targets) ** 2).sum())
        left_out.append(scores)
    best = int(np.argmin(errors))
    model, found, strength = fit_ridge(x, y, 3)
    assert strength == STRENGTHS[best]
    np.testing.assert_allclose(found, left_out[best], atol=1e-7)
    judge = Ridge(alpha=strength).fit(x, targets)
    np.testing.assert_allclose(model.weights, judge.coef_, atol=1e-8)
    np.testing.assert_allclose(model.bias, judge.intercept_, atol=1e-8)
    streamed = solve(
        collect(lambda: iter([Block(x.astype(np.float32), np.arange(n))]), one_hot(y, 3)).centred(), strength
    )
    np.testing.assert_allclose(streamed.weights, judge.coef_, atol=1e-4)
    np.testing.assert_allclose(streamed.bias, judge.intercept_, atol=1e-4)


def test_a_round_says_of_all_rows_what_the_fit_on_those_with_labels_says() -> None:
    x, y = made(300, 16, 3)
    raw = (x * np.linspace(1, 9, 300)[:, None]).astype(np.float16)
    places = np.arange(0, 300, 10)
    found = learn(raw, places, [f"n{c}" for c in y[places]])
    assert found is not None
    assert (found.names, found.rows) == (("n0", "n1", "n2"), 30)
    unit = raw.astype(np.float64) / np.linalg.norm(raw.astype(np.float64), axis=1, keepdims=True)
    _, _, strength = fit_ridge(unit[places], y[places], 3)
    scores = Ridge(alpha=strength).fit(unit[places], np.eye(3)[y[places]]).predict(unit)
    # One factor turns scores into logarithms of probabilities; it is found from the first row.
    logs = np.log(found.p.astype(np.float64))
    scale = (logs[0, 0] - logs[0, 1]) / (scores[0, 0] - scores[0, 1])
    np.testing.assert_allclose(found.p, softmax(scale * scores, axis=1), atol=2e-3)
    assert (found.best == scores.argmax(axis=1)).mean() > 0.99
    top = np.sort(found.p, axis=1)
    np.testing.assert_allclose(found.doubt, 1 - (top[:, -1] - top[:, -2]), atol=1e-6)


def test_many_rows_are_fitted_to_all_at_a_strength_that_some_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = made(600, 8, 3)
    monkeypatch.setattr(room, "_JUDGED", 90)
    found = learn(x.astype(np.float32), np.arange(600), [f"n{c}" for c in y])
    assert found is not None
    whole = Ridge(alpha=1.0).fit(x, np.eye(3)[y]).predict(x).argmax(axis=1)
    assert (found.best == whole).mean() > 0.97
    assert found.rows == 600


@pytest.mark.parametrize("labels", [[], ["cat"], ["cat", "cat", "cat"]])
def test_with_fewer_than_two_names_there_is_nothing_to_learn(labels: list[str]) -> None:
    assert learn(np.eye(4, 8, dtype=np.float16), np.arange(len(labels)), labels) is None


def test_one_row_of_each_name_is_enough() -> None:
    x = np.eye(4, 8, dtype=np.float32) + 0.01
    found = learn(np.concatenate([x, x]), np.arange(4), ["a", "b", "c", "d"])
    assert found is not None
    assert found.best.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert np.isfinite(found.p).all()


def test_equal_vectors_of_two_names_are_wholly_in_doubt() -> None:
    found = learn(np.ones((6, 4), np.float16), np.arange(2), ["a", "b"])
    assert found is not None
    np.testing.assert_allclose(found.p, 0.5)


def farthest_first(x: np.ndarray, known: list[int], count: int) -> list[int]:
    """Return the rows by the definition: the one whose nearest known one is least near."""
    known, found = [*known], []
    for _ in range(count):
        left = [i for i in range(len(x)) if i not in known]
        found.append(min(left, key=lambda i: max(float(x[i] @ x[j]) for j in known)))
        known.append(found[-1])
    return found


def test_the_most_different_are_those_of_the_definition() -> None:
    x = made(80, 12, 4)[0].astype(np.float32)
    nearness = Nearness(x * 3)
    for known in ([5], [5, 17, 40], [17]):  # labels come, and are taken back
        near = nearness.update(np.array(known))
        np.testing.assert_allclose(near, (x @ x[known].T).max(axis=1), atol=1e-6)
        left = np.setdiff1d(np.arange(80), known)
        found = most_different(x * 3, near, left)
        assert found[:10].tolist() == farthest_first(x, known, 10)
        assert sorted(found.tolist()) == left.tolist()


class Session:
    """A labelling of a small store whose answers are known, a row without a vector among them."""

    def __init__(self, folder: Path) -> None:
        self.x, self.y = made(60, 16, 3)
        self.store = write_store(folder / "s", self.x, failed=(7,))
        self.searchable = np.delete(np.arange(60), 7)
        self.labelling = self.open()

    def open(self) -> Labelling:
        return Labelling(self.store, self.searchable, lambda: self.x[self.searchable].astype(np.float16))


def test_rounds_order_and_foretell(tmp_path: Path) -> None:
    session = Session(tmp_path)
    labelling = session.labelling
    assert labelling.round() is None
    assert sorted(labelling.order("doubt").tolist()) == list(
        range(59)
    )  # the most different, as long as nothing is learned
    with pytest.raises(InputError, match="two names"):
        labelling.order("likely", "n0")
    for place in range(10):
        assert not labelling.is_due
        labelling.answer(
            [place], f"n{session.y[place]}"
        )  # the failed one gets a label as well, and is not learned from
    assert labelling.is_due
    learned = labelling.round()
    assert learned is not None
    assert learned.rows == 9
    assert not labelling.is_due
    left = np.arange(9, 59)
    doubtful = labelling.order("doubt")
    assert sorted(doubtful.tolist()) == left.tolist()
    assert (np.diff(learned.doubt[doubtful]) <= 0).all()
    likely = labelling.order("likely", "n1")
    assert (np.diff(learned.p[likely, 1]) <= 0).all()
    for by, name, words in (("likely", "nobody", "does not know"), ("sideways", None, "no order")):
        with pytest.raises(InputError, match=words):
            labelling.order(by, name)
    said = learned.names[learned.best[19]]  # of the row in place 20, which is the 20th that has a vector
    labelling.answer([20], said)
    running = labelling.labels.running()
    assert (running.right, running.counted) == (1, 1)
    assert labelling.undo() == ["000020"]
    labelling.answer([20], "somebody new")
    assert labelling.labels.running().right == 0
    again = session.open()
    assert again.labels.given == labelling.labels.given
    learned = again.round()
    assert learned is not None
    assert "somebody new" in learned.names


@pytest.mark.long
def test_a_person_who_answers_in_its_order_beats_one_who_answers_at_random(
    tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    extract(shared_data("caltech_20"), tmp_path / "store")
    store = FeatureStore.open(tmp_path / "store")
    gained = [right_at_60(store, seed, "doubt") - right_at_60(store, seed, None) for seed in range(5)]
    assert np.mean(gained) >= 0.05, gained


def right_at_60(store: FeatureStore, seed: int, by: str | None) -> float:
    """Return the share of the other rows that are named rightly after 60 answers, ten a round."""
    x, y = store.vectors(), np.array(store.labels())
    folder = store.path.with_name(f"review-{seed}-{by}")
    labelling = Labelling(store, np.arange(len(x)), lambda: x, folder)
    shuffled, done = np.random.default_rng(seed).permutation(len(x)), list[int]()
    while len(done) < 60:
        # Both begin with the same three rows, by which the seeds differ.
        order = shuffled if by is None or not done else labelling.order(by)
        chosen = [i for i in order.tolist() if i not in done][: 10 - len(done) % 10 if done else 3]
        for place in chosen:
            labelling.answer([place], str(y[place]))
        done += chosen
        if labelling.is_due:
            labelling.round()
    learned = labelling.learned
    assert learned is not None
    rest = np.setdiff1d(np.arange(len(x)), done)
    return float((np.array(learned.names)[learned.best] == y)[rest].mean())
