"""Labels by hand as a browser requests them: what is saved, shown, hidden and refused."""

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from stepmark.records import Annotation, StepAnnotation, Trace, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, TRACES, annotations
from storage.labelling.carry_over import CUT
from storage.labelling.label_store import LabelStore
from tests.storage.labelling.samples import labels_of, write_traces
from tests.viewer.listing import disable_listing_cache
from tests.viewer.samples import METHODS, write_hostile, write_mixed
from viewer.access import Access
from viewer.app import create_app
from viewer.labelling import Labelling

SITE = "http://127.0.0.1:8765"
HEADERS = {"Origin": SITE, "X-Stepmark": "1", "Content-Type": "application/json"}
TRACE = "/label/traces/t0-0"
SAVE = f"{TRACE}?mode=blind"


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    disable_listing_cache(monkeypatch)
    sample = Dataset(str(tmp_path / "data"))
    write_mixed(sample)
    return sample


def client_of(dataset: Dataset, rater: str = "eve", overlap: float = 1.0) -> TestClient:
    """Return a browser of a rater; "" for one that has not said its name."""
    store = LabelStore.open(dataset)
    app = create_app(dataset, Access(), Labelling(store=store, rater=rater, overlap=overlap))
    return TestClient(app, base_url=SITE)


def named(client: TestClient, rater: str) -> TestClient:
    """Return another browser of the same server, with the cookie of a rater."""
    other = TestClient(client.app, base_url=SITE)
    answer = other.post("/label/rater", json={"rater": rater}, headers=HEADERS)
    assert answer.status_code == 200, answer.text
    return other


def state_of(client: TestClient, address: str = TRACE) -> dict[str, Any]:
    html = client.get(address).text
    (text,) = re.findall(r"data-state='([^']*)'", html)
    state: dict[str, Any] = json.loads(unescape(text))
    return state


def save(
    client: TestClient, kind: str, address: str = SAVE, status: int = 200, **values: object
) -> dict[str, Any]:
    steps_id = state_of(client, address)["steps_id"]
    entry = {"kind": kind, "steps_id": steps_id, **values}
    answer = client.post(address, json=entry, headers=HEADERS)
    assert answer.status_code == status, answer.text
    result: dict[str, Any] = answer.json()
    return result


def next_trace(client: TestClient, query: str = "") -> str:
    """Return the path of the next trace of a queue; that of the start page if there is none."""
    answer = client.get(f"/label/next?{query}", follow_redirects=False)
    assert answer.status_code == 303
    return answer.headers["location"].partition("?")[0]


def first_errors(dataset: Dataset, method: str = "human_eve") -> Mapping[str, int | None]:
    return {label.trace_id: label.first_error for label in labels_of(dataset, method)}


def test_label_is_saved_and_stored(dataset: Dataset) -> None:
    client = client_of(dataset)
    save(client, "comment", step=0, text=" it is fine ")
    state = save(client, "no_error")
    assert (state["is_finished"], state["is_changed"], state["missing"]) == (False, True, [])
    assert state_of(client) == state
    state = save(client, "finish")
    assert (state["is_finished"], state["is_changed"], state["waiting"]) == (True, False, 0)
    assert first_errors(dataset) == {"t0-0": -1}
    (label,) = labels_of(dataset, "human_eve")
    assert label.steps[0].rationale == "it is fine"


def test_half_labelled_trace_names_its_steps(dataset: Dataset) -> None:
    client = client_of(dataset)
    lengths = [len(trace.steps) for trace in dataset.read_part(TRACES, 0)]
    address = f"/label/traces/t0-{lengths.index(3)}?mode=blind"
    save(client, "mark", address, step=1, mark="right")
    refused = save(client, "finish", address, status=422)
    assert refused == {"message": "not finished: no mark on steps 1, 3", "missing": [0, 2]}
    assert first_errors(dataset) == {}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"X-Stepmark": ""}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_writes_of_other_sites_are_refused(
    dataset: Dataset, headers: dict[str, str], status: int
) -> None:
    client = client_of(dataset, "")
    browser = named(client, "ann")
    body = json.dumps({"kind": "no_error", "steps_id": state_of(browser)["steps_id"]})
    for address, content in ((SAVE, body), ("/label/rater", '{"rater": "mallory"}')):
        answer = browser.post(address, content=content, headers={**HEADERS, **headers})
        assert answer.status_code == status
        assert not answer.cookies
    without_origin = {name: value for name, value in HEADERS.items() if name != "Origin"}
    assert browser.post(SAVE, content=body, headers=without_origin).status_code == 403
    assert not state_of(browser)["can_undo"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "body: Invalid JSON"),
        ("[]", "body: Input should be an object"),
        ("{}", "kind: Field required"),
        ('{"kind": "mark"}', "steps_id: Field required"),
        ('{"kind": "explode", "steps_id": "ID"}', "kind: Input should be 'mark'"),
        ('{"kind": "stored", "steps_id": "ID"}', "cannot be 'stored'"),
        ('{"kind": "adopt", "steps_id": "ID"}', "cannot be 'adopt'"),
        ('{"kind": "mark", "steps_id": "ID", "mark": "right"}', "needs a step"),
        ('{"kind": "mark", "steps_id": "ID", "step": "0"}', "step: Input should be a valid int"),
        ('{"kind": "mark", "steps_id": "ID", "step": -1}', "greater than or equal to 0"),
        ('{"kind": "mark", "steps_id": "ID", "step": 99}', "the trace has"),
        ('{"kind": "mark", "steps_id": "ID", "step": 1e30}', "step: "),
        ('{"kind": "mark", "steps_id": "ID", "step": 0, "mark": "good"}', "mark: Input should be"),
        ('{"kind": "comment", "steps_id": "ID", "text": "\\ud800"}', "Invalid JSON"),
        ('{"kind": "unsure", "steps_id": "ID", "is_set": 1}', "is_set: "),
        ('{"kind": "finish", "steps_id": "ID", "shard": 7}', "shard: Extra inputs"),
        ('{"kind": "accept", "steps_id": "ID", "source": "judge"}', "needs the first error"),
        (
            '{"kind": "accept", "steps_id": "ID", "source": "judge", "first_error": -1}',
            "no first error that could",
        ),
        ('{"kind": "finish", "steps_id": "other"}', "have changed"),
    ],
)
def test_malformed_entries_are_refused(dataset: Dataset, body: str, message: str) -> None:
    client = client_of(dataset)
    content = body.replace("ID", state_of(client)["steps_id"])
    answer = client.post(SAVE, content=content, headers=HEADERS)
    assert answer.status_code in (400, 409)
    assert message in answer.json()["message"]
    assert not state_of(client)["can_undo"]


def test_large_bodies_are_refused(dataset: Dataset) -> None:
    client = client_of(dataset)
    answer = client.post(SAVE, content=b" " * 70_000, headers=HEADERS)
    assert answer.status_code == 413
    steps_id = state_of(client)["steps_id"]
    entry = {"kind": "comment", "steps_id": steps_id, "text": "x" * 10_001}
    assert "at most 10000" in client.post(SAVE, json=entry, headers=HEADERS).text


@pytest.mark.parametrize("rater", ["", "Ann", "../x", "a/b", "<b>", "a" * 33, "adjudicated", "\0"])
def test_hostile_raters_are_refused(dataset: Dataset, rater: str) -> None:
    client = client_of(dataset, "")
    answer = client.post("/label/rater", json={"rater": rater}, headers=HEADERS)
    assert answer.status_code == 400
    assert "rater" in answer.json()["message"]
    # A cookie that no page has set.
    forged = {"Cookie": f'stepmark_rater_8765="{rater}"', **HEADERS}
    assert client.get(TRACE, headers=forged, follow_redirects=False).status_code == 303
    steps_id = state_of(named(client, "ann"))["steps_id"]
    entry = {"kind": "no_error", "steps_id": steps_id}
    assert client.post(SAVE, json=entry, headers=forged).status_code == 403
    assert not list(Path(dataset.uri).glob("labelling/*"))


@pytest.mark.parametrize(
    "trace_id", ["nope", "..%2F..%2Fx", "%00", "t0-0%2F", "%2e%2e/x", "\N{SNOWMAN}"]
)
def test_unknown_traces_are_refused(dataset: Dataset, trace_id: str) -> None:
    client = client_of(dataset)
    address = f"/label/traces/{trace_id}"
    assert client.get(address).status_code == 404
    entry = {"kind": "no_error", "steps_id": "x"}
    assert client.post(address, json=entry, headers=HEADERS).status_code == 404
    assert not list(Path(dataset.uri).glob("labelling/*"))


def test_name_is_asked_for_first(dataset: Dataset) -> None:
    client = client_of(dataset, "")
    for address in (TRACE, "/label/next"):
        answer = client.get(address, follow_redirects=False)
        assert answer.headers["location"].startswith("/label?")
    page = client.get("/label").text
    assert "Your name as a rater" in page
    assert "/label/next" not in page
    browser = named(client, "ann-lee")
    assert "ann-lee" in browser.get("/label").text
    save(browser, "no_error")
    save(browser, "finish")
    assert first_errors(dataset, "human_ann_lee") == {"t0-0": -1}


def test_command_can_name_the_rater(dataset: Dataset) -> None:
    client = client_of(dataset, "bob")
    answer = client.post("/label/rater", json={"rater": "ann"}, headers=HEADERS)
    assert answer.status_code == 409
    assert "Your name" not in client.get("/label").text


def test_blind_page_hides_the_machine(dataset: Dataset) -> None:
    client = client_of(dataset)
    hidden = [*METHODS, "Evidence", "accept", "different", "monte", "kept", "queue=disagree"]
    html = client.get(f"{TRACE}?mode=blind").text
    for word in hidden:
        assert word not in html
    assert 'class="verdict' not in html
    shown = client.get(f"{TRACE}?mode=verify").text
    for word in ("judge", "monte_carlo", "Evidence", "accept"):
        assert word in shown
    # Labels of other raters would not be independent.
    assert "human_ann" not in shown
    assert client.get(f"{TRACE}?mode=x").status_code == 400


def test_machine_label_is_accepted(dataset: Dataset) -> None:
    client = client_of(dataset)
    for trace in dataset.read_part(TRACES, 0):
        judged = next(
            dataset.matching_records(annotations("judge"), 0, "trace_id", [trace.trace_id])
        )
        if judged.first_error is not None:
            break
    address = f"/label/traces/{trace.trace_id}?mode=verify"
    state = save(client, "accept", address, source="judge", first_error=judged.first_error)
    assert state["first_error"] == judged.first_error
    save(client, "finish", address)
    assert first_errors(dataset) == {judged.trace_id: judged.first_error}
    journal = Path(dataset.uri, "labelling", "human_eve.jsonl").read_text()
    # It is known later which labels were made in sight of the machine's.
    assert '"source": "judge"' in journal
    assert '"mode": "verify"' in journal


def test_changed_machine_label_is_not_accepted(dataset: Dataset) -> None:
    client = client_of(dataset)
    address = f"{TRACE}?mode=verify"
    shown = {"source": "judge", "first_error": 0}
    rows = list(dataset.read_part(annotations("judge"), 0))
    for first_error, status in ((-1, 409), (None, 400), (0, 200)):
        first = replace(rows[0], trace_id="t0-0", first_error=first_error)
        dataset.write_part(annotations("judge"), 0, [first, *rows[1:]], "g")
        client = client_of(dataset)
        state = save(client, "accept", address, status=status, **shown)
        if status != 200:
            assert "judge" in state["message"]
            assert not state_of(client)["can_undo"]
    assert state["first_error"] == 0


def test_truth_is_never_a_proposal(dataset: Dataset) -> None:
    secret = "the oracle explains the step"
    trace = next(iter(dataset.read_part(TRACES, 0)))
    steps = (StepAnnotation(verdict=Verdict.INCORRECT, rationale=secret),) * len(trace.steps)
    truth = Annotation(trace_id="t0-0", method="oracle", first_error=0, steps=steps)
    dataset.write_part(annotations("oracle"), 0, [truth], "g")
    dataset.write_part(annotations("human_ann"), 0, [replace(truth, method="human_ann")], "g")
    labels = list(dataset.read_part(LABELS, 0))
    labels = [replace(label, sources=("oracle",)) for label in labels]
    dataset.write_part(LABELS, 0, labels, "g")
    client = client_of(dataset)
    address = f"{TRACE}?mode=verify"
    page = client.get(address).text
    evidence = re.findall(r'hx-get="([^"]*)"', page)
    assert evidence[0] == "/label/traces/t0-0/steps/1"
    assert secret in client.get("/traces/t0-0/steps/1").text
    answer = client.get(evidence[0])
    assert answer.status_code == 200
    # Neither a label that is the truth, nor the reasons of people or of the oracle.
    for text in (page, answer.text):
        assert secret not in text
        assert "oracle" not in text
        assert "human_ann" not in text
    assert 'data-source="label"' not in page
    for source in ("oracle", "human_ann", "label"):
        save(client, "accept", address, status=400, source=source, first_error=0)
    assert client.get("/label/traces/t0-0/steps/9").status_code == 404
    assert client.get("/label/trace/steps/1?id=t0-0").text == answer.text


def test_waiting_label_is_adjudicated_as_shown(dataset: Dataset) -> None:
    server = client_of(dataset, "")
    zoe = named(server, "zoe")
    eve = named(server, "eve")
    save(zoe, "no_error")
    save(zoe, "finish")
    address = f"{TRACE}?mode=adjudicate"
    with dataset.writer_lock():
        save(zoe, "first_error", step=0)
        save(zoe, "finish")
        assert 'data-source="human_zoe" data-first-error="0"' in eve.get(address).text
        state = save(eve, "accept", address, source="human_zoe", first_error=0)
    assert state["first_error"] == 0


def test_entry_of_another_rater_is_refused(dataset: Dataset) -> None:
    client = named(client_of(dataset, ""), "ann")
    assert 'data-rater="ann"' in client.get(TRACE).text
    save(client, "no_error", rater="ann")
    # Another window of the same browser changes the name.
    client.post("/label/rater", json={"rater": "bob"}, headers=HEADERS)
    refused = save(client, "finish", status=409, rater="ann")
    assert "the rater is now bob" in refused["message"]
    assert not Path(dataset.uri, "labelling", "human_bob.jsonl").exists()


def test_entry_for_another_draft_is_refused(dataset: Dataset) -> None:
    client = client_of(dataset)
    shown = save(client, "no_error")["draft_id"]
    changed = save(client, "first_error", step=0)
    refused = save(client, "finish", status=409, seen=shown)
    assert refused["state"] == changed
    assert "in another window" in refused["message"]
    save(client, "finish", seen=changed["draft_id"])
    assert first_errors(dataset) == {"t0-0": 0}


def test_queue_leads_through_all_traces(dataset: Dataset) -> None:
    client = client_of(dataset)
    query = "domain=arithmetic&sort=long"
    done = list[str]()
    for number in range(20):
        page = client.get(f"/label?{query}").text
        assert f"<strong>{number}</strong> of 20 of this queue" in page
        address = next_trace(client, query)
        done.append(address)
        save(client, "unsure", address, is_set=True)
        save(client, "finish", address)
    assert len(set(done)) == 20
    assert next_trace(client, query) == "/label"
    assert "This queue is finished" in client.get(f"/label?{query}").text
    assert set(first_errors(dataset).values()) == {None}


def test_queue_continues_after_a_place(dataset: Dataset) -> None:
    client = client_of(dataset)
    assert next_trace(client) == TRACE
    assert next_trace(client, "place=4") == "/label/traces/t0-5"
    # Traces that were passed over come at the end.
    assert next_trace(client, "place=60") == TRACE


def test_audit_queue_is_limited(dataset: Dataset) -> None:
    client = client_of(dataset)
    assert "of 61 of this queue" in client.get("/label?queue=audit").text


def test_overlap_divides_the_traces(dataset: Dataset) -> None:
    server = client_of(dataset, "", overlap=0.3)
    seen = dict[str, set[str]]()
    for rater in ("eve", "bob"):
        client = named(server, rater)
        seen[rater] = set()
        for _ in range(12):
            address = next_trace(client)
            seen[rater].add(address)
            save(client, "unsure", address, is_set=True)
            save(client, "finish", address)
    both = seen["eve"] & seen["bob"]
    # By the ids of the traces, so that they are the same on every machine.
    assert 0 < len(both) < 12
    again = client_of(dataset, "cid", overlap=0.3)
    others = {next_trace(again)}
    assert not others & (seen["eve"] ^ seen["bob"])


def test_open_trace_is_reserved(dataset: Dataset) -> None:
    server = client_of(dataset, "", overlap=0.0)
    eve = named(server, "eve")
    bob = named(server, "bob")
    first = next_trace(eve)
    assert next_trace(bob) != first
    assert next_trace(eve) == first


def test_raters_at_once_get_different_traces(dataset: Dataset) -> None:
    server = client_of(dataset, "", overlap=0.0)
    browsers = [named(server, f"rater-{number}") for number in range(8)]
    server.get("/label")
    with ThreadPoolExecutor(len(browsers)) as pool:
        traces = list(pool.map(next_trace, browsers))
    assert len(set(traces)) == len(browsers)


def test_disagreements_are_adjudicated(dataset: Dataset) -> None:
    server = client_of(dataset, "")
    zoe = named(server, "zoe")
    bob = named(server, "bob")
    eve = named(server, "eve")
    save(zoe, "comment", step=0, text="is <b>wrong</b>")
    save(zoe, "first_error", step=0)
    save(bob, "no_error")
    for client in (zoe, bob):
        save(client, "finish")
    page = eve.get("/raters").text
    for part in ("human_zoe", "human_bob", "Krippendorff"):
        assert part in page
    assert "/label/traces/t0-0?mode=adjudicate" in page
    address = f"{TRACE}?mode=adjudicate"
    html = eve.get(address).text
    assert "is &lt;b&gt;wrong&lt;/b&gt;" in html
    assert "human_zoe" in html
    save(eve, "accept", address, source="human_zoe", first_error=0)
    save(eve, "finish", address)
    assert first_errors(dataset, "human_adjudicated") == {"t0-0": 0}
    journal = Path(dataset.uri, "labelling", "human_adjudicated.jsonl").read_text()
    assert '"by": "eve"' in journal
    # It is no rater, and its traces are done.
    rows = re.findall(r'<th scope="row">(\w+)</th><td>human_', eve.get("/raters").text)
    assert rows == ["ann", "bob", "zoe"]
    assert next_trace(eve, "mode=adjudicate") != TRACE


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A dataset of three traces without labels."""
    disable_listing_cache(monkeypatch)
    sample = Dataset(str(tmp_path / "three"))
    write_traces(sample, shards=1)
    return sample


def disputed(server: TestClient, *trace_ids: str) -> None:
    """Have two raters disagree on traces."""
    zoe = named(server, "zoe")
    bob = named(server, "bob")
    for trace_id in trace_ids:
        address = f"/label/traces/{trace_id}?mode=blind"
        save(zoe, "first_error", address, step=0)
        save(bob, "no_error", address)
        for client in (zoe, bob):
            save(client, "finish", address)


def test_adjudication_can_skip_a_trace(three: Dataset) -> None:
    server = client_of(three, "")
    traces = ("t0-0", "t0-1", "t0-2")
    disputed(server, *traces)
    eve = named(server, "eve")
    address = "/label/next?mode=adjudicate"
    seen = list[str]()
    for _ in range(4):
        page = eve.get(address)
        seen.append(page.url.path.rpartition("/")[2])
        (address,) = re.findall(r'<a href="([^"]*)">skip</a>', unescape(page.text))
    # After the last one, the first one comes again.
    assert seen == [*traces, traces[0]]
    html = eve.get("/label/traces/t0-1?mode=adjudicate").text
    links = dict(re.findall(r'<a rel="(prev|next)" href="([^"?]*)', html))
    assert links == {"prev": "/label/traces/t0-0", "next": "/label/traces/t0-2"}
    # What is decided is skipped, and the order stays.
    decided = "/label/traces/t0-1?mode=adjudicate"
    save(eve, "no_error", decided)
    save(eve, "finish", decided)
    assert next_trace(eve, "mode=adjudicate&place=0") == "/label/traces/t0-2"
    assert "1 of 3 of this queue" in eve.get(address).text


def test_bad_problem_is_a_disagreement(three: Dataset) -> None:
    server = client_of(three, "")
    zoe = named(server, "zoe")
    bob = named(server, "bob")
    eve = named(server, "eve")
    save(zoe, "bad_problem", is_set=True)
    save(zoe, "finish")
    assert next_trace(eve, "mode=adjudicate") == "/label"
    save(bob, "no_error")
    save(bob, "finish")
    page = eve.get("/raters").text
    assert "<div>zoe bad problem</div>" in page
    assert f"{TRACE}?mode=adjudicate" in page
    address = f"{TRACE}?mode=adjudicate"
    save(eve, "bad_problem", address, is_set=True)
    save(eve, "finish", address)
    assert "<td>bad problem</td>" in eve.get("/raters").text


def test_stale_labels_are_offered_again(three: Dataset, tmp_path: Path) -> None:
    store = LabelStore.open(three, str(tmp_path / "labels"))
    app = create_app(three, Access(), Labelling(store=store, rater="eve"))
    client = TestClient(app, base_url=SITE)
    for trace_id in ("t0-0", "t0-1", "t0-2"):
        address = f"/label/traces/{trace_id}?mode=blind"
        save(client, "first_error", address, step=1)
        save(client, "finish", address)
    assert next_trace(client) == "/label"
    traces = list(three.read_part(TRACES, 0))
    carried = replace(traces[0], steps=("a b ", "c"))
    divided = replace(traces[1], steps=("a b", " c"))
    three.write_part(TRACES, 0, [carried, divided, traces[2]], "g")
    assert next_trace(client) == "/label/traces/t0-1"
    start = client.get("/label").text
    assert (
        f"1 of your labels is not used, because the traces have other steps now: 1 × {CUT}" in start
    )
    assert "<strong>2</strong> of 3 of this queue" in start
    row = re.search(r"human_eve</td>(.*)</tr>", client.get("/raters").text)
    assert row is not None
    # Finished, with an error, without, unsure, bad problem, half-labelled, on other steps.
    assert re.findall(r"<td>(\d+)", row[1]) == ["2", "2", "0", "0", "0", "0", "1"]
    state = state_of(client, "/label/traces/t0-0")
    assert (state["first_error"], state["is_finished"], state["is_changed"]) == (0, True, False)
    state = state_of(client, "/label/traces/t0-1")
    assert (state["marks"], state["is_finished"]) == (["", ""], False)
    save(client, "no_error", "/label/traces/t0-1?mode=blind")
    save(client, "finish", "/label/traces/t0-1?mode=blind")
    assert next_trace(client) == "/label"
    assert "not used" not in client.get("/label").text


def test_raters_page_counts(dataset: Dataset) -> None:
    client = client_of(dataset)
    save(client, "mark", "/label/traces/t0-1", step=0, mark="wrong")
    save(client, "bad_problem", is_set=True)
    save(client, "finish")
    row = re.search(r"human_eve</td>(.*)</tr>", client.get("/raters").text)
    assert row is not None
    assert re.findall(r"<td>(\d+)", row[1]) == ["1", "0", "0", "0", "1", "1", "0"]


def test_labels_wait_while_a_run_writes(dataset: Dataset) -> None:
    client = client_of(dataset)
    save(client, "no_error")
    with dataset.writer_lock():
        state = save(client, "finish")
        assert state["waiting"] == 1
        assert "a run is writing" in state["reason"]
        assert "1 finished label waits" in client.get("/raters").text
        assert "<strong>1</strong> of 61" in client.get("/label").text
        assert first_errors(dataset) == {}
    assert "waits" not in client.get("/raters").text
    assert first_errors(dataset) == {"t0-0": -1}


def test_unwritable_journal_is_reported(dataset: Dataset) -> None:
    client = client_of(dataset)
    steps_id = state_of(client)["steps_id"]
    Path(dataset.uri, "labelling").write_text("not a folder")
    answer = client.post(SAVE, json={"kind": "undo", "steps_id": steps_id}, headers=HEADERS)
    assert answer.status_code == 503
    assert "the journal" in answer.json()["message"]


def test_replaced_steps_are_noticed(dataset: Dataset) -> None:
    client = client_of(dataset)
    steps_id = state_of(client)["steps_id"]
    traces = list(dataset.read_part(TRACES, 0))
    changed = {name: getattr(traces[0], name) for name in traces[0].__dataclass_fields__}
    traces[0] = Trace(**{**changed, "steps": ("other",)})
    dataset.write_part(TRACES, 0, traces, "g")
    answer = client.post(SAVE, json={"kind": "no_error", "steps_id": steps_id}, headers=HEADERS)
    assert answer.status_code == 409
    assert "reload the page" in answer.json()["message"]


def test_hostile_texts_are_escaped(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    trace = write_hostile(dataset)
    client = client_of(dataset)
    path = f"/label/traces/{quote(trace.trace_id, safe='')}?mode="
    hostile = "'><script>alert(1)</script>\u202e"
    save(client, "comment", f"{path}blind", text=hostile)
    save(client, "comment", f"{path}blind", step=0, text=hostile)
    for mode in ("blind", "verify", "adjudicate"):
        html = client.get(path + mode).text
        assert "<script>document" not in html
        assert "<script>alert" not in html
        assert "<img" not in html
    assert state_of(client, f"{path}blind")["comment"] == hostile
    save(client, "unsure", f"{path}blind", is_set=True)
    save(client, "finish", f"{path}blind")
    (label,) = labels_of(dataset, "human_eve")
    assert label.trace_id == trace.trace_id
    assert {step.verdict for step in label.steps} == {Verdict.UNKNOWN}


def test_pages_without_labelling_have_none(mixed: Dataset, client: TestClient) -> None:
    assert client.get("/label").status_code == 404
    assert client.get("/raters").status_code == 404
    assert 'href="/label' not in client.get("/traces").text


def test_labels_do_not_touch_machine_labels(dataset: Dataset) -> None:
    before = {method: list(dataset.read(annotations(method))) for method in METHODS}
    labels = list(dataset.read(LABELS))
    client = client_of(dataset, "ann")
    address = next_trace(client)
    save(client, "no_error", address)
    save(client, "finish", address)
    after = {method: list(dataset.read(annotations(method))) for method in METHODS}
    new = [row for row in after["human_ann"] if row not in before["human_ann"]]
    assert [f"/label/traces/{row.trace_id}" for row in new] == [address]
    assert {**after, "human_ann": before["human_ann"]} == before
    assert list(dataset.read(LABELS)) == labels
