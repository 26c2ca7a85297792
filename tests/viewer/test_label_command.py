"""`stepmark view` for raters: its options, and what it says about labels at its start."""

import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipelines.__main__ import main
from storage.dataset.dataset import Dataset
from storage.labelling import label_store
from storage.labelling.events import Kind
from storage.labelling.label_store import LabelStore
from tests.columns import column
from tests.storage.labelling.samples import labels_of, target_of, write_traces


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    sample = Dataset(str(tmp_path / "data"))
    write_traces(sample)
    return sample


class View:
    """The command, with a server that ends when its rater has looked at the start page."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys
        self.page = ""

    def run(self, *options: str) -> tuple[int, str]:
        """Run the command, and return its exit status and its output."""
        self.monkeypatch.setattr("pipelines.cli.environment_guard.check_names", lambda: None)
        self.monkeypatch.setattr(
            "uvicorn.Server.run", lambda server, sockets: self._serve(server, sockets)
        )
        arguments = ["view", "--port", "0", "--no-browser", *options]
        self.monkeypatch.setattr(sys, "argv", ["stepmark", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output = self.capsys.readouterr()
        return int(ended.value.code or 0), output.out + output.err

    def _serve(self, server: object, sockets: object) -> None:
        port = sockets[0].getsockname()[1]  # type: ignore[index]
        app = server.config.app  # type: ignore[attr-defined]
        self.page = TestClient(app, base_url=f"http://127.0.0.1:{port}").get("/label").text


@pytest.fixture
def view(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> View:
    return View(monkeypatch, capsys)


def test_rater_is_named_by_the_command(view: View, dataset: Dataset) -> None:
    status, output = view.run("--dataset", dataset.uri, "--rater", "ann", "--overlap", "0.25")
    assert (status, output.count("\n")) == (0, 1)
    assert "<strong>ann</strong>" in view.page
    assert "25.0 % of the traces go to every rater" in view.page


@pytest.mark.parametrize("rater", ["A/B", "adjudicated", "x" * 40])
def test_invalid_rater_is_an_error(view: View, dataset: Dataset, rater: str) -> None:
    status, output = view.run("--dataset", dataset.uri, "--rater", rater)
    assert status == 2
    assert "rater" in output
    assert output.count("\n") == 1


def test_folder_of_labels_is_announced(view: View, dataset: Dataset, tmp_path: Path) -> None:
    folder = str(tmp_path / "labels")
    status, output = view.run("--dataset", dataset.uri, "--labels", folder)
    assert status == 0
    assert f"labels by hand are written to {folder}" in output
    other = Dataset(str(tmp_path / "other"))
    write_traces(other)
    status, output = view.run("--dataset", other.uri, "--labels", folder)
    assert status == 2
    assert "name another folder with --labels" in output


def test_pages_work_without_labels(
    view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    # A folder below a file cannot be created, not even by root.
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked / "state"))
    bucket = Dataset(f"memory://{tmp_path.name}/data")
    write_traces(bucket)
    status, output = view.run("--dataset", bucket.uri)
    assert status == 0
    assert "without labels by hand: cannot write" in output
    assert "Not found" in view.page
    status, output = view.run("--dataset", bucket.uri, "--rater", "ann")
    assert status == 2


def test_start_repairs_and_reports(
    view: View, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LabelStore.open(dataset)
    target = target_of(store)
    store.save(target, Kind.NO_ERROR)

    def crash(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(label_store, "store", crash)
        with pytest.raises(KeyboardInterrupt):
            store.save(target, Kind.FINISH)
    journal = Path(dataset.uri, "labelling", "human_ann.jsonl")
    with journal.open("ab") as file:
        file.write(b'{"torn')
    status, output = view.run("--dataset", dataset.uri)
    assert status == 0
    assert "the last line is incomplete" in output
    assert column(labels_of(dataset, "human_ann"), "first_error") == [-1]


def test_waiting_labels_are_announced(view: View, dataset: Dataset) -> None:
    store = LabelStore.open(dataset)
    target = target_of(store)
    with dataset.writer_lock():
        store.save(target, Kind.NO_ERROR)
        store.save(target, Kind.FINISH)
        status, output = view.run("--dataset", dataset.uri)
    assert status == 0
    assert "finished labels that wait: 1; a run is writing" in output
