"""Labelling in rounds: a person answers, every ten answers a fit says what to ask next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fxengine.errors import InputError
from fxengine.features.read import FeatureStore
from fxengine.reviewing.labels import Labels
from fxengine.reviewing.learn import Learned, learn
from fxengine.reviewing.order import Nearness, most_different

EVERY = 10  # answers, after which a round is due
DOUBT, DIFFERENT = "doubt", "different"


class Labelling:
    """The labels of a store, and what the last round made of them.

    Attributes:
        labels: what was answered.
        learned: the last fit; None before the first one, and while there are fewer than two names.
    """

    def __init__(
        self, store: FeatureStore, searchable: np.ndarray, matrix: Callable[[], np.ndarray], folder: Path | None = None
    ) -> None:
        """Take up what was answered before.

        Args:
            store: the store.
            searchable: the places in `store.rows()` of the rows that have a vector, int64 [m].
            matrix: returns their raw vectors, [m, dim].
            folder: where the journal lies; beside the store unless given.

        Raises:
            InputError: the journal cannot be read.
        """
        self.labels = Labels(store, folder)
        self.learned: Learned | None = None
        self._searchable, self._matrix = searchable, matrix
        self._nearness: Nearness | None = None
        self._orders: dict[tuple[str, str | None], np.ndarray] = {}
        self._since = len(self.labels.given)  # rows answered since the last round
        self._lock = threading.RLock()

    @property
    def is_due(self) -> bool:
        """Whether ten rows or more were answered since the last round."""
        return self._since >= EVERY

    def answer(self, places: Sequence[int], label: str | None) -> None:
        """Give rows a label (None takes it away); places are those in `store.rows()`. Raises as `Labels.answer`."""
        with self._lock:
            self.labels.answer(places, label, self._foretold(places))
            self._since += len(places)

    def undo(self) -> list[str]:
        """Take the last answer back and return its ids. Raises as `Labels.undo`."""
        with self._lock:
            taken = self.labels.undo()
            self._since = max(0, self._since - len(taken))
            return taken

    def round(self) -> Learned | None:
        """Fit to what is labelled now, and look at all rows; None where there are fewer than two names."""
        with self._lock:
            self.labels.refresh()
            places, labels = self.labels.places()
            at = np.searchsorted(self._searchable, places)
            fine = self._searchable[np.minimum(at, len(self._searchable) - 1)] == places
            kept = [label for label, is_fine in zip(labels, fine, strict=True) if is_fine]
            self.learned = learn(self._matrix(), at[fine], kept)
            self._since = 0
            self._orders.clear()
            return self.learned

    def order(self, by: str, name: str | None = None) -> np.ndarray:
        """Return the rows that have a vector and no label, int64 [k], by their places among the vectors.

        It stays as it was when it was first asked for until the next round, so that nothing moves while one answers.

        Args:
            by: "doubt", the most doubtful first; "likely", those that are most probably called `name`; "different",
                the most different from what is labelled. Without a fit the most doubtful are the most different.
            name: one that was given.

        Raises:
            InputError: there is no such order, or the fit does not know the name.
        """
        with self._lock:
            if (by, name) not in self._orders:
                self._orders[by, name] = self._ordered(by, name)
            return self._orders[by, name]

    def _ordered(self, by: str, name: str | None) -> np.ndarray:
        left = np.flatnonzero(~np.isin(self._searchable, self.labels.places()[0]))
        if by == "likely":
            return left[np.argsort(-self._of(name)[left], kind="stable")]
        if by not in (DOUBT, DIFFERENT):
            raise InputError(f"There is no order {by!r}. There is: {DOUBT}, likely, {DIFFERENT}.")
        if by == DOUBT and self.learned is not None:
            return left[np.argsort(-self.learned.doubt[left], kind="stable")]
        matrix = self._matrix()
        if self._nearness is None:
            self._nearness = Nearness(matrix)
        labelled = np.setdiff1d(np.arange(len(matrix)), left)
        return most_different(matrix, self._nearness.update(labelled), left, seed=len(labelled))

    def _of(self, name: str | None) -> np.ndarray:
        if self.learned is None:
            raise InputError("Nothing is learned yet: two names are needed, and a round.")
        if name not in self.learned.names:
            known = ", ".join(map(repr, self.learned.names[:10]))
            raise InputError(f"The last round does not know the name {name!r}. It knows {known}.")
        return np.asarray(self.learned.p[:, self.learned.names.index(name)])

    def _foretold(self, places: Sequence[int]) -> dict[int, str]:
        if self.learned is None or not len(self._searchable):
            return {}
        best, known = self.learned.p, {}
        for place in places:
            at = int(np.searchsorted(self._searchable, place))
            if at < len(self._searchable) and self._searchable[at] == place:
                known[place] = self.learned.names[int(best[at].argmax())]
        return known
