"""Copies of pages in a folder, and reports in one file: their files, links and escaping."""

import re
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from pipelines.__main__ import main
from stepmark.errors import ConfigError, DatasetError
from stepmark.records import Problem, Trace
from storage.dataset.dataset import Dataset
from storage.dataset.folder import Folder
from storage.dataset.tables import PROBLEMS, TRACES, critiques
from tests.columns import column
from tests.storage.isolation import answer_in_this_process
from tests.viewer.parsed_page import Page
from tests.viewer.samples import STRANGE_IDS, TRACE, write_mixed
from viewer.report import write_report
from viewer.static_copy import write_copy
from viewer.static_pages import dataset_name

LIMIT = 200
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
FONT = re.compile(r"url\((fonts/[\w-]+\.woff2)\)")


def copy_of(dataset: Dataset, folder: Path, limit: int = LIMIT, **selection: str) -> Path:
    write_copy(dataset, str(folder), limit, **selection)
    return folder


def report_of(dataset: Dataset, folder: Path, **selection: Sequence[str]) -> Page:
    file = folder / "report.html"
    write_report(dataset, str(file), LIMIT, **selection)  # type: ignore[arg-type]
    return Page(file.read_text(encoding="utf-8"))


def pages_of(folder: Path) -> dict[str, Page]:
    return {path.name: Page(path.read_text(encoding="utf-8")) for path in folder.glob("*.html")}


def squeezed(text: str) -> str:
    return " ".join(text.split())


def assert_links_resolve(folder: Path) -> None:
    pages = pages_of(folder)
    for name, page in pages.items():
        for link in page.attributes("href") + page.attributes("src"):
            path, _, fragment = link.partition("#")
            # Neither a scheme, nor a path out of the folder, nor a query that needs a server.
            assert re.fullmatch(r"[\w./-]*", path), link
            assert ".." not in path
            assert (folder / (path or name)).is_file(), link
            if fragment:
                assert fragment in pages[path or name].attributes("id"), link
        assert not page.attributes("hx-get")
        assert not page.attributes("action")


def test_all_links_stay_in_the_folder(mixed: Dataset, tmp_path: Path) -> None:
    folder = copy_of(mixed, tmp_path / "copy")
    assert_links_resolve(folder)
    style = folder / "assets" / "vendor" / "katex" / "katex.min.css"
    fonts = FONT.findall(style.read_text(encoding="utf-8"))
    assert len(fonts) == 20
    assert all((style.parent / font).is_file() for font in fonts)


def test_copy_shows_the_same_as_pages(mixed: Dataset, tmp_path: Path) -> None:
    pages = pages_of(copy_of(mixed, tmp_path / "copy"))
    overview = squeezed(pages["index.html"].text)
    for part in ("3 problems", "61 traces", "kept labels", "Agreement", "Reliability of judge"):
        assert part in overview
    assert len([name for name in pages if name.startswith("trace-")]) == 61
    trace = pages["trace-t0-0.html"]
    for number in range(25):
        assert f"rollout number {number}\n" in trace.text
    for part in ("Is every step right?", "You judge.", "20 solutions of this problem the first 12"):
        assert part in squeezed(trace.text)
    assert "trace-t0-1.html" in trace.attributes("href")
    assert "traces-2.html" in pages["traces.html"].attributes("href")


def test_limited_copy_says_so(mixed: Dataset, tmp_path: Path) -> None:
    folder = copy_of(mixed, tmp_path / "copy", 3)
    assert_links_resolve(folder)
    pages = pages_of(folder)
    assert len(pages) == 5
    assert "3 traces the first of 61" in squeezed(pages["traces.html"].text)
    # The other solutions of its problem have no pages.
    assert "20 solutions" in squeezed(pages["trace-t0-0.html"].text)


def test_copy_of_no_trace_has_pages(mixed: Dataset, tmp_path: Path) -> None:
    folder = copy_of(mixed, tmp_path / "copy", 0)
    assert_links_resolve(folder)
    assert set(pages_of(folder)) == {"index.html", "traces.html"}


def test_queue_and_query_select_traces(
    mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_in_this_process(monkeypatch)
    sql = "SELECT trace_id FROM traces WHERE trace_id IN ('t0-3', 't2-5')"
    names = set(pages_of(copy_of(mixed, tmp_path / "query", where=sql)))
    assert names == {"index.html", "traces.html", "trace-t0-3.html", "trace-t2-5.html"}
    flawed = copy_of(mixed, tmp_path / "flawed", queue="flawed")
    assert_links_resolve(flawed)
    pages = pages_of(flawed)
    assert "Flawed positives" in pages["traces.html"].text
    # The list of the copy is the one of this figure of the overview, and not of all traces.
    assert pages["index.html"].attributes("href").count("traces.html") == 2
    # A filter of a copy cannot be removed: only the navigation links to the list.
    assert pages["traces.html"].attributes("href").count("traces.html") == 1
    page = report_of(mixed, tmp_path, trace_ids=["t2-5", "t0-3"])
    assert page.attributes("id").count("trace-2") == 1
    assert "trace-3" not in page.attributes("id")


def test_names_of_files_are_safe(strange_ids: Dataset, tmp_path: Path) -> None:
    folder = copy_of(strange_ids, tmp_path / "copy")
    assert_links_resolve(folder)
    assert column(tmp_path.iterdir(), "name") == ["copy"]
    names = [path.name for path in folder.iterdir()]
    assert len({name.lower() for name in names}) == len(STRANGE_IDS) + 3
    assert all(re.fullmatch(r"[a-z0-9_-]{1,90}(\.html)?", name) for name in names)


def test_hostile_texts_are_escaped(hostile: tuple[Dataset, Trace], tmp_path: Path) -> None:
    folder = copy_of(hostile[0], tmp_path / "copy")
    pages = pages_of(folder)
    assert len(pages) == 3
    report = report_of(hostile[0], tmp_path)
    for page in (*pages.values(), report):
        assert not page.attributes("style")
        assert not page.attributes("onerror")
        assert "img" not in dict(page.tags)
        assert "<script>document.title" in page.text
        assert not HIDDEN.search(page.text)
    for page in pages.values():
        for tag, attributes in page.tags:
            assert tag != "script" or str(attributes["src"]).startswith("assets/")
    assert [tag for tag, _ in report.tags].count("script") == 4
    assert any("end of text" in page.text for page in pages.values())


def test_report_contains_its_files(mixed: Dataset, tmp_path: Path) -> None:
    page = report_of(mixed, tmp_path)
    assert not page.attributes("src")
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    for link in page.attributes("href"):
        assert link.startswith("#")
        assert link.removeprefix("#") in ids
    for name in ("aria-labelledby", "aria-controls"):
        assert set(page.attributes(name)) <= set(ids)
    assert "url(fonts/" not in page.text
    assert page.text.count("url(data:font/woff2;base64,") == 20
    assert "rollout number 24" in page.text


def test_report_without_formulas_is_small(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    dataset.write_run_file('dataset = "x"\n')
    page = report_of(dataset, tmp_path)
    assert "No traces yet" in page.text
    assert "katex" not in page.text.replace(".katex", "")
    assert "font/woff2" not in page.text


def test_copy_does_not_name_the_folder(mixed: Dataset, tmp_path: Path) -> None:
    folder = copy_of(mixed, tmp_path / "copy", 1)
    write_report(mixed, str(tmp_path / "report.html"), 1)
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.html")]
    texts.append((tmp_path / "report.html").read_text(encoding="utf-8"))
    for text in texts:
        assert str(Path(mixed.uri).parent) not in text
        assert "– data</title>" in text


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("s3://bucket/folder/data/", "data"),
        ("hf://datasets/org/name@main", "name@main"),
        ("sftp://me:password@host/data?key=secret", "data"),
        ("sftp://me:password@host", "host"),
        ("s3://bucket/data?key=a/secret", "data"),
        ("/", "dataset"),
    ],
)
def test_copy_names_no_secret(location: str, name: str) -> None:
    assert dataset_name(location) == name


def test_failed_copy_leaves_nothing(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    write_mixed(dataset)
    damaged = next(Path(dataset.uri, critiques("judge").folder).glob("*2.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    for write, name in ((write_copy, "copy"), (write_report, "report.html")):
        for target in (tmp_path / name, tmp_path / "new" / "folders" / name):
            with pytest.raises(DatasetError):
                write(dataset, str(target), LIMIT)
    assert column(tmp_path.iterdir(), "name") == ["data"]


def test_shards_of_buckets_load_once(
    mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = Dataset(f"memory://{tmp_path.name}/data")
    write_mixed(remote)
    read_paths = list[str]()
    reading = Folder.reading

    def read_and_count(folder: Folder, path: str) -> AbstractContextManager[BinaryIO]:
        if not folder.is_local:
            read_paths.append(path)
        return reading(folder, path)

    monkeypatch.setattr(Folder, "reading", read_and_count)
    expected = copy_of(mixed, tmp_path / "local", queue="audit")
    copy = copy_of(remote, tmp_path / "remote", queue="audit")
    assert max(Counter(read_paths).values()) <= 3
    for path in expected.glob("*.html"):
        assert (copy / path.name).read_bytes() == path.read_bytes()
    # In the order of the list, not of the shards.
    reports = []
    for number, dataset in enumerate((mixed, remote)):
        file = tmp_path / f"{number}.html"
        write_report(dataset, str(file), LIMIT, queue="audit")
        reports.append(file.read_bytes())
    assert reports[0] == reports[1]
    damaged = f"{remote.folder.root}/{critiques('judge').folder}/part-00002.parquet"
    remote.folder.fs.pipe_file(damaged, remote.folder.fs.cat_file(damaged)[:-20])
    with pytest.raises(DatasetError, match=r"memory://.*judge/part-00002\.parquet is damaged"):
        copy_of(remote, tmp_path / "damaged")


def test_existing_targets_are_kept(mixed: Dataset, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    file = tmp_path / "copy" / "notes.txt"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not an empty folder: choose another one"):
        write_copy(mixed, str(tmp_path / "copy"), LIMIT)
    with pytest.raises(ConfigError, match="is not an empty folder: choose another one"):
        write_copy(mixed, str(file), LIMIT)
    with pytest.raises(ConfigError, match="exists: choose another file for --to, or remove it"):
        write_report(mixed, str(file), LIMIT)
    assert file.read_text(encoding="utf-8") == "mine"
    (tmp_path / "empty").mkdir()
    assert (copy_of(mixed, tmp_path / "empty", 1) / "index.html").is_file()


@pytest.mark.parametrize("name", ["link", "missing"])
def test_links_are_no_targets(mixed: Dataset, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "missing").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="is a link: name the folder itself for --export"):
        write_copy(mixed, str(tmp_path / name), LIMIT)
    for write in (write_copy, write_report):
        with pytest.raises(ConfigError, match="missing is not a folder"):
            write(mixed, str(tmp_path / "missing" / "a" / "b"), LIMIT)
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "link", "missing"}
    # The folder behind a link is one.
    copy_of(mixed, tmp_path / "link" / "copy", 1)
    assert (tmp_path / "empty" / "copy" / "index.html").is_file()


def test_folder_is_no_report(mixed: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name a file, not a folder"):
        write_report(mixed, f"{tmp_path}/reports/", LIMIT)


def test_repeated_ids_are_an_error(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    for shard in range(2):
        problem = Problem(problem_id=f"p{shard}", question="?", answer="20", domain="", source="")
        dataset.write_part(PROBLEMS, shard, [problem], "f")
        dataset.write_part(TRACES, shard, [replace(TRACE, problem_id=f"p{shard}")], "f")
    dataset.write_run_file('dataset = "x"\n')
    with pytest.raises(DatasetError, match="several traces with one id: `stepmark verify` lists"):
        copy_of(dataset, tmp_path / "copy")


@pytest.mark.parametrize("target", ["", " ", "s3://bucket/copy", "a\nb", "~nobody_has_this/x"])
def test_impossible_targets_are_refused(mixed: Dataset, target: str) -> None:
    with pytest.raises(ConfigError, match="--export "):
        write_copy(mixed, target, LIMIT)
    with pytest.raises(ConfigError, match="--to "):
        write_report(mixed, target, LIMIT)


def test_current_folder_is_no_target(
    mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="the command runs in it; name another folder"):
        write_copy(mixed, ".", LIMIT)


def test_unknown_trace_is_an_error(mixed: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the dataset has no trace nope"):
        report_of(mixed, tmp_path, trace_ids=["t0-0", "nope"])
    with pytest.raises(ConfigError, match="choose one of disagree"):
        copy_of(mixed, tmp_path / "copy", queue="nope")
    assert not list(tmp_path.iterdir())


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("pipelines.cli.environment_guard.check_names", lambda: None)
    monkeypatch.setattr(sys, "argv", ["stepmark", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_commands_say_what_they_wrote(
    mixed: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = ("--dataset", mixed.uri)
    folder = str(tmp_path / "copy")
    options = ("--export", folder, "--traces", "2", "--queue", "audit")
    assert run_command(monkeypatch, "view", *dataset, *options) == 0
    assert re.fullmatch(
        r".*/copy/index.html: 2 of 61 traces, \d+\.\d MB\n", capsys.readouterr().out
    )
    file = str(tmp_path / "report.html")
    assert run_command(monkeypatch, "report", *dataset, "--to", file, "--trace", "t0-0") == 0
    assert re.fullmatch(r".*/report.html: 1 of 1 traces, \d+\.\d MB\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("view", "--traces", "3"), "choose what --export FOLDER writes"),
        (("view", "--queue", "audit"), "choose what --export FOLDER writes"),
        (("report", "--to", "x.html", "--trace", "t0-0", "--traces", "3"), "--trace names the"),
    ],
)
def test_options_that_do_not_fit(
    mixed: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    assert run_command(monkeypatch, *arguments, "--dataset", mixed.uri) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", [("view", "--export"), ("report", "--to")])
def test_signal_leaves_nothing(
    mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, str]
) -> None:
    monkeypatch.setattr(
        "viewer.static_pages.StaticPages.list_page",
        lambda *arguments, **options: signal.raise_signal(signal.SIGTERM),
    )
    target = str(tmp_path / "new" / "copy")
    name, option = command
    status = run_command(monkeypatch, name, "--dataset", mixed.uri, option, target)
    assert status == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())
