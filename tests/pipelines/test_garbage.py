"""Garbage is sought more seldom during a run, and as before it afterwards, however it ends."""

import gc

import pytest

from pipelines.run.infrequent_gc import YOUNG, seldom_sought


def test_what_was_there_before_is_not_looked_through() -> None:
    gc.unfreeze()
    with seldom_sought():
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] == YOUNG
    assert gc.get_freeze_count() == 0


def test_a_run_that_fails_leaves_everything_as_it_was() -> None:
    before = gc.get_threshold()
    with pytest.raises(RuntimeError), seldom_sought():
        raise RuntimeError
    assert gc.get_threshold() == before


def test_a_cycle_that_is_made_within_is_found_all_the_same() -> None:
    class Knot:
        def __init__(self) -> None:
            self.itself = self

    with seldom_sought():
        for _ in range(2 * YOUNG):
            Knot()
        assert sum(isinstance(each, Knot) for each in gc.get_objects()) <= YOUNG
