"""The garbage collector runs less often within the block, and as before after it."""

import gc

import pytest

from pipelines.run.infrequent_gc import YOUNG_OBJECTS, infrequent_gc


def test_existing_objects_are_not_scanned() -> None:
    gc.unfreeze()
    with infrequent_gc():
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] == YOUNG_OBJECTS
    assert gc.get_freeze_count() == 0


def test_failure_restores_the_thresholds() -> None:
    thresholds = gc.get_threshold()
    with pytest.raises(RuntimeError), infrequent_gc():
        raise RuntimeError
    assert gc.get_threshold() == thresholds


def test_new_cycles_are_collected() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    with infrequent_gc():
        for _ in range(2 * YOUNG_OBJECTS):
            Cycle()
        assert sum(isinstance(item, Cycle) for item in gc.get_objects()) <= YOUNG_OBJECTS
