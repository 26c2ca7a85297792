"""Figures of the overview: they agree with `stepmark score`, and link to what they count."""

import math
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, quote

import pytest
from starlette.testclient import TestClient

from pipelines.scoring.dataset_scores import scores
from pipelines.scoring.gold import first_errors
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES, annotations
from storage.queries.render import values
from storage.queries.sql import query
from storage.queries.trace_summary import SummaryReader, TraceSummary
from tests.columns import column
from tests.viewer.samples import TRACE, annotation
from viewer.figures import Bar, Figures, figures, gold_methods
from viewer.selection import LABEL, parse
from viewer.trace_list import list_traces

GOLD = "human_ann"


@pytest.fixture(scope="module")
def summary(mixed: Dataset) -> TraceSummary:
    return SummaryReader(mixed).read()


@pytest.fixture(scope="module")
def summary_figures(summary: TraceSummary) -> Figures:
    return figures(summary, gold=GOLD)


def selected(summary: TraceSummary, query_string: str) -> int:
    """Return how many traces the page shows that a link leads to."""
    total, _ = list_traces(summary, parse(dict(parse_qsl(query_string)), summary), 1)
    return total


def test_quality_equals_that_of_score(mixed: Dataset, summary_figures: Figures) -> None:
    gold, _ = first_errors(mixed, GOLD)
    expected = {}
    for (_, name), score in scores(mixed, gold, excluded_method=GOLD).items():
        key = LABEL if name.startswith("labels") else name
        expected[key] = score
    assert len(expected) == 4
    for row in summary_figures.methods:
        if row.name == GOLD:
            continue
        score = expected[row.name]
        assert row.gold == score.decided
        assert score.exact is not None
        assert row.exact / row.gold == pytest.approx(score.exact)
        assert row.f1 == pytest.approx(score.f1)
        assert row.calibration_error == (
            None if score.calibration_error is None else pytest.approx(score.calibration_error)
        )
        assert column(row.reliability, "traces") == column(score.reliability, "traces")


def test_counts_equal_those_of_sql(mixed: Dataset, summary_figures: Figures) -> None:
    sql = (
        "SELECT (SELECT count(*) FROM traces), (SELECT count(found_by) FROM traces),"
        " (SELECT count(*) FROM labels), (SELECT count(*) FROM labels WHERE kept),"
        " (SELECT count(*) FROM classes WHERE class = 'flawed positive')"
    )
    (expected,) = values(query(mixed, sql))
    counts = (
        summary_figures.traces,
        summary_figures.discovered,
        summary_figures.labelled,
        summary_figures.kept,
        summary_figures.flawed,
    )
    assert counts == expected


@pytest.mark.parametrize("source", ["judge", "formal", LABEL])
def test_every_bar_leads_to_its_traces(summary: TraceSummary, source: str) -> None:
    summary_figures = figures(summary, source=source, gold=GOLD)
    charts: list[Bar] = [
        *summary_figures.outcomes,
        *summary_figures.reasons,
        *summary_figures.first_errors,
        *summary_figures.positions,
    ]
    assert len(charts) > 10
    for bar in charts:
        assert selected(summary, bar.query) == bar.count, bar
    for row in summary_figures.methods:
        for item in row.reliability:
            assert selected(summary, item.query) == item.traces, item


def test_every_count_leads_to_its_traces(
    client: TestClient, summary: TraceSummary, summary_figures: Figures
) -> None:
    html = unescape(client.get(f"/?gold={GOLD}").text)
    for row in summary_figures.methods:
        links = {f"verdict={row.name}:error": row.errors}
        if row.gold:
            links[f"agree={row.name}:{GOLD}"] = row.exact
            links[f"differ={row.name}:{GOLD}"] = row.gold - row.exact
        for facet, count in links.items():
            # Only kept labels are counted.
            link = f"kept=yes&{facet}" if row.name == LABEL else facet
            assert f'<a href="/traces?{quote(link, safe="=&")}"' in html or (
                f'<a class="share" href="/traces?{quote(link, safe="=&")}"' in html
            )
            assert selected(summary, link) == count, link


def test_bins_and_links_are_equal(tmp_path: Path) -> None:
    # 0.1 + 0.7 is below 0.8, but 10 times as much is 8.
    confidences = [0.1 + 0.7, *(tenth / 10 for tenth in range(11))]
    for tenth in range(1, 11):
        confidences.append(math.nextafter(tenth / 10, 0.0))
    traces = [replace(TRACE, trace_id=str(number)) for number in range(len(confidences))]
    judged = []
    for trace, confidence in zip(traces, confidences, strict=True):
        judged.append(replace(annotation(trace, "judge", 0), confidence=confidence))
    dataset = Dataset(str(tmp_path / "data"))
    dataset.write_part(TRACES, 0, traces, "f")
    dataset.write_part(annotations("judge"), 0, judged, "f")
    people = [annotation(trace, "human", 0) for trace in traces]
    dataset.write_part(annotations("human"), 0, people, "f")
    summary = SummaryReader(dataset).read()
    rows = {row.name: row for row in figures(summary, source="judge", gold="human").methods}
    for item in rows["judge"].reliability:
        assert selected(summary, item.query) == item.traces, item
    assert sum(column(rows["judge"].reliability, "traces")) == len(traces)


def test_first_errors_cover_decided_traces(summary_figures: Figures) -> None:
    # The selection of first errors is of all labels, also of those that are not kept.
    counts = {bar.name: bar.count for bar in summary_figures.first_errors}
    assert sum(counts.values()) == counts["no error"] + sum(
        column(summary_figures.positions, "count")
    )


def test_every_cell_leads_to_its_traces(summary: TraceSummary, summary_figures: Figures) -> None:
    assert len(summary_figures.agreements) == 5 * 4
    for (first, second), pair in summary_figures.agreements.items():
        assert selected(summary, f"agree={first}:{second}") == pair.agreed
        assert selected(summary, f"differ={first}:{second}") == pair.traces - pair.agreed


def test_kappa_is_that_of_cohen(summary: TraceSummary, summary_figures: Figures) -> None:
    rows = summary.rows(
        "SELECT judge_first_error, formal_first_error FROM summary"
        " WHERE judge_first_error IS NOT NULL AND formal_first_error IS NOT NULL"
    )
    judge, formal = zip(*rows, strict=True)
    observed = sum(first == second for first, second in rows) / len(rows)
    expected = 0.0
    for answer in {*judge, *formal}:
        expected += judge.count(answer) / len(rows) * formal.count(answer) / len(rows)
    kappa = (observed - expected) / (1 - expected)
    assert summary_figures.agreements["judge", "formal"].kappa == pytest.approx(kappa)


def test_people_and_oracles_are_gold(summary: TraceSummary) -> None:
    assert gold_methods(summary) == [GOLD]


def test_verdicts_divide_the_traces(summary: TraceSummary) -> None:
    for source in ("judge", "human_ann", LABEL):
        counts = []
        for verdict in ("error", "none", "undecided", "failed", "missing"):
            counts.append(selected(summary, f"verdict={source}:{verdict}"))
        assert sum(counts) == 61
        assert counts[4] > 0
    assert selected(summary, "verdict=judge:failed") == 1
