"""Pages as a browser requests them: what they show, and that they show it escaped."""

import math
import re
import uuid
from dataclasses import replace
from pathlib import Path
from typing import cast
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from stepmark.records import Trace, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES, annotations
from tests.storage.isolation import answer_in_this_process
from tests.viewer.listing import disable_listing_cache
from tests.viewer.parsed_page import Page
from tests.viewer.samples import TRACE, annotation, write_mixed
from viewer.access import Access
from viewer.app import create_app
from viewer.selection import QUEUES, SORTS


def page_of(client: TestClient, address: str, status: int = 200) -> Page:
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    return Page(answer.text)


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_overview_shows_all_figures(client: TestClient) -> None:
    page = page_of(client, "/")
    text = squeezed(page.text)
    for part in ("3 problems", "61 traces", "kept labels", "flawed positives", "Agreement"):
        assert part in text
    assert "scored against human_ann" in text
    assert "Reliability of judge" in text


def test_every_link_works(client: TestClient) -> None:
    forms = set[str]()
    for address in ("/", "/traces?outcome=correct&queue=audit", "/traces/t1-found?place=0"):
        page = page_of(client, address)
        for link in page.attributes("href") + page.attributes("src") + page.attributes("hx-get"):
            # One link of each form is enough: with the same parameters, of any trace.
            form = re.sub(r"=[^&]*|\d+(-\w+)?", "", link)
            if link.startswith("/") and form not in forms:
                forms.add(form)
                assert client.get(link).status_code in (200, 204), link
    assert len(forms) > 30


def test_poll_answers_only_changes(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    disable_listing_cache(monkeypatch)
    dataset = Dataset(str(tmp_path_factory.mktemp("live") / "data"))
    write_mixed(dataset)
    client = TestClient(create_app(dataset, Access()))
    (poll,) = page_of(client, "/").attributes("hx-get")
    assert client.get(poll).status_code == 204
    dataset.remove_part(LABELS, 0)
    answer = client.get(poll)
    assert answer.status_code == 200
    assert "<html" not in answer.text
    (next_poll,) = Page(answer.text).attributes("hx-get")
    assert next_poll != poll
    assert client.get(next_poll).status_code == 204


def test_empty_dataset_has_pages(tmp_path_factory: pytest.TempPathFactory) -> None:
    dataset = Dataset(str(tmp_path_factory.mktemp("empty") / "data"))
    dataset.write_run_file('dataset = "x"\n')
    client = TestClient(create_app(dataset, Access()))
    assert "No traces yet" in page_of(client, "/").text
    assert "No trace matches" in page_of(client, "/traces").text


@pytest.mark.parametrize(
    "query", [*(f"queue={queue}" for queue in QUEUES), *(f"sort={sort}" for sort in SORTS)]
)
def test_lists_have_rows(client: TestClient, query: str) -> None:
    page = page_of(client, f"/traces?{query}")
    (total,) = re.findall(r"(\d+) traces?\n", page.text)
    assert page.attributes("class").count("row-link") == min(50, int(total))


def test_pages_of_a_list_are_disjoint(client: TestClient) -> None:
    for sort in ("", "random", "short"):
        ids = list[str]()
        for number in (1, 2, 3):
            for link in page_of(client, f"/traces?sort={sort}&page={number}").attributes("href"):
                ids.extend(re.findall(r"/traces/([^?]+)\?", link))
        assert len(ids) == len(set(ids)) == 61


def test_next_leads_through_a_list(client: TestClient) -> None:
    page = page_of(client, "/traces?outcome=correct&kept=yes&sort=long")
    expected = []
    for link in page.attributes("href"):
        expected.extend(re.findall(r"(/traces/[^?]+)\?", link))
    address = next(link for link in page.attributes("href") if link.startswith("/traces/"))
    visited = []
    while address:
        visited.append(address.partition("?")[0])
        page = page_of(client, address)
        next_links = [a["href"] for _, a in page.tags if a.get("rel") == "next"]
        previous = [a["href"] for _, a in page.tags if a.get("rel") == "prev"]
        assert bool(previous) == (len(visited) > 1)
        address = str(next_links[0]) if next_links else ""
    assert visited == expected
    assert len(visited) > 3


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("queue=nope", "choose one of disagree"),
        ("sort=nope", "choose one of doubt"),
        ("kept=maybe", "choose one of yes"),
        ("verdict=judge", "write 2 values"),
        ("verdict=nobody:error", "has no annotations of 'nobody'; it has: formal"),
        ("differ=judge:x%22%20OR%201=1", "has no annotations of"),
        ("error_at=judge:x", "x is not a number"),
        ("confidence=Label:0", "write 3 values"),
        ("domain=" + "x" * 600, "more than 500 characters"),
        ("sql=" + "x" * 30_000, "more than 20,000 characters"),
    ],
)
def test_invalid_addresses_are_explained(client: TestClient, query: str, message: str) -> None:
    assert message in page_of(client, f"/traces?{query}", 400).text


@pytest.mark.parametrize(
    "address",
    [
        "/nope",
        "/traces/nope",
        "/traces/t0-0/steps/99",
        "/traces/t0-0/steps/0",
        "/traces/t0-0/steps/x",
        f"/traces/t0-0/steps/{'9' * 5000}",
    ],
)
def test_missing_pages_are_not_found(client: TestClient, address: str) -> None:
    assert "Not found" in page_of(client, address, 404).text


def test_values_are_not_sql(client: TestClient) -> None:
    page = page_of(client, "/traces?domain=x'+OR+1%3D1+--&text='%25")
    assert "No trace matches" in page.text


def test_sql_selects_traces(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_in_this_process(monkeypatch)
    sql = "SELECT trace_id FROM traces WHERE trace_id = 't0-3' -- one"
    page = page_of(client, f"/traces?sql={quote(sql)}")
    assert "1 trace\n" in page.text
    assert sql in page.text
    assert "SELECT statement" in page_of(client, "/traces?sql=DROP+TABLE+traces", 400).text


def test_trace_shows_what_is_stored(client: TestClient) -> None:
    page = page_of(client, "/traces/t0-0")
    text = squeezed(page.text)
    for part in ("What is $2 + 3$, times 0?", "First, $2 + 3 = 5$.", "Reference answer20"):
        assert part in text
    for method in ("formal", "human_ann", "judge", "monte_carlo"):
        assert method in text
    assert "20 solutions of this problem the first 12; show all" in text
    assert "step-1" in page.attributes("id")
    assert any(name.startswith("95 % interval") for name in page.attributes("aria-label"))


def test_all_solutions_are_shown_on_request(client: TestClient) -> None:
    page = page_of(client, "/traces/t0-0")
    (link,) = [link for link in page.attributes("href") if "all=yes" in link]
    assert page.attributes("class").count("sample") == 11
    assert page_of(client, link).attributes("class").count("sample") == 19


def test_discovered_trace_names_its_parent(client: TestClient) -> None:
    page = page_of(client, "/traces/t1-found")
    assert "/traces/t1-0" in page.attributes("href")
    assert "21 solutions" in squeezed(page.text)


def test_evidence_is_complete(client: TestClient) -> None:
    first = page_of(client, "/traces/t0-0/steps/1").text
    rest = page_of(client, "/traces/t0-0/steps/1?from=21").text
    for number in range(25):
        assert f"rollout number {number}\n" in (first if number < 20 else rest)
    assert "25 rollouts" in first
    assert "length" in first
    for part in ("Is every step right?", "You judge.", "a judge", "Step 1: it adds. correct"):
        assert part in first


def test_passage_about_a_step_is_marked(client: TestClient) -> None:
    html = client.get("/traces/t0-0/steps/1").text
    assert "<mark>Step 1: it adds. correct\n</mark>" in html


def test_tree_merges_equal_steps(client: TestClient) -> None:
    page = page_of(client, "/traces/t0-0/tree")
    # 20 traces begin with the same step, and 25 rollouts follow it.
    assert page.text.count("First, $2 + 3 = 5$.") == 1
    assert page.text.count("rollout number") == 25


def test_hostile_texts_are_escaped(hostile: tuple[Dataset, Trace]) -> None:
    dataset, trace = hostile
    client = TestClient(create_app(dataset, Access()))
    path = f"/traces/{quote(trace.trace_id, safe='')}"
    texts = list[str]()
    for address in ("/", "/traces", path, f"{path}/steps/1", f"{path}/tree"):
        page = page_of(client, address)
        texts.append(page.text)
        scripts = [a.get("src") for tag, a in page.tags if tag == "script"]
        assert all(str(source).startswith("/static/") for source in scripts)
        assert not page.attributes("style")
        assert not page.attributes("onerror")
        assert "img" not in dict(page.tags)
        for link in page.attributes("href") + page.attributes("hx-get"):
            assert link.startswith(("/", "#"))
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page.text)
    assert all("<script>document.title" in text for text in texts)
    # Nothing is cut: the other megabyte is folded.
    assert "end of text" in texts[2]
    assert "\\x1b[31mred\\x07" in texts[2]


def test_damaged_values_do_not_break_pages(tmp_path: Path) -> None:
    judged = annotation(TRACE, "judge", 1)
    steps = (replace(judged.steps[0], successes=5, trials=1), *judged.steps[1:])
    strange = replace(judged, steps=steps, posterior=(0.5,), first_error=2**31 - 1)
    dataset = Dataset(str(tmp_path / "data"))
    traces = [
        TRACE,
        replace(TRACE, trace_id="u", problem_id="q", outcome=cast(Verdict, "x\x1b[1m")),
    ]
    dataset.write_part(TRACES, 0, traces, "f")
    dataset.write_part(annotations("human"), 0, [replace(strange, method="human")], "f")
    for number, confidence in enumerate((math.nan, math.inf, -math.inf, -1e300)):
        name = f"judge_{number}"
        row = replace(strange, method=name, confidence=confidence)
        dataset.write_part(annotations(name), 0, [row], "f")
    client = TestClient(create_app(dataset, Access()))
    page_of(client, "/?of=judge_0")
    # The words of the outcome are not trusted to be those of a verdict.
    assert "x\\x1b[1m" in page_of(client, "/traces").text
    page_of(client, "/traces?position=judge_0:3&sort=doubt")
    page_of(client, "/traces/t")
    page_of(client, "/traces/t/steps/1")


def test_numbers_without_bounds_are_ignored(client: TestClient) -> None:
    digits = "9" * 5000
    page_of(client, f"/traces?page={digits}")
    page_of(client, f"/traces/t0-0?place={digits}")
    page_of(client, f"/traces/t0-0/steps/1?from={digits}")


def test_bucket_has_pages() -> None:
    dataset = Dataset(f"memory://{uuid.uuid4().hex}/data")
    write_mixed(dataset)
    client = TestClient(create_app(dataset, Access()))
    assert "61 traces" in squeezed(page_of(client, "/").text)
    assert "step-1" in page_of(client, "/traces/t0-0").attributes("id")
    assert "25 rollouts" in page_of(client, "/traces/t0-0/steps/1").text


def test_error_pages_escape_addresses(client: TestClient) -> None:
    answer = client.get("/traces?queue=<script>alert(1)</script>")
    assert answer.status_code == 400
    assert "<script>alert" not in answer.text


def test_removed_dataset_is_an_error(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    disable_listing_cache(monkeypatch)
    dataset = Dataset(str(tmp_path_factory.mktemp("gone") / "data"))
    client = TestClient(create_app(dataset, Access()))
    assert "no dataset at" in page_of(client, "/", 500).text
