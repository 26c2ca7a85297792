"""Garbage is sought more seldom during a run, and as before it afterwards, however it ends."""

import gc

import pytest

from pipelines.run.infrequent_gc import YOUNG_OBJECTS, infrequent_gc


def test_what_was_there_before_is_not_looked_through() -> None:
    gc.unfreeze()
    with infrequent_gc():
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] == YOUNG_OBJECTS
    assert gc.get_freeze_count() == 0


def test_a_run_that_fails_leaves_everything_as_it_was() -> None:
    before = gc.get_threshold()
    with pytest.raises(RuntimeError), infrequent_gc():
        raise RuntimeError
    assert gc.get_threshold() == before


def test_a_cycle_that_is_made_within_is_found_all_the_same() -> None:
    class Knot:
        def __init__(self) -> None:
            self.itself = self

    with infrequent_gc():
        for _ in range(2 * YOUNG_OBJECTS):
            Knot()
        assert sum(isinstance(each, Knot) for each in gc.get_objects()) <= YOUNG_OBJECTS
