"""Small runs of the run files in configs/ give what commit 26a14a6 gave, from the same requests."""

import gc
from pathlib import Path

import pytest

from tests.golden import flows
from tests.golden.responses import Responses
from tests.golden.rows import compare
from tests.pipelines.one_verifier import use_one_verifier


@pytest.fixture(scope="module")
def responses() -> Responses:
    """The recorded responses of the pocket engine."""
    return Responses()


@pytest.mark.parametrize("flow", flows.FLOWS, ids=lambda flow: flow.__name__)
def test_flow_is_unchanged(
    flow: flows.Flow,
    responses: Responses,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_one_verifier(monkeypatch)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    with flows.folder_of_flow(tmp_path), responses.engine():
        golden_sets = flow()
    assert responses.unrecorded == []
    for name, golden in golden_sets.items():
        compare(name, golden)


def test_every_recorded_request_is_made(request: pytest.FixtureRequest) -> None:
    """Run behind the flows: a response that no flow requested is left over from other behaviour."""
    responses: Responses = request.getfixturevalue("responses")
    assert responses.stored.keys() == responses.requested
