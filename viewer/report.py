"""A report: the overview and some traces in one file that contains its style, scripts and fonts."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from stepmark.errors import ConfigError, DatasetError
from storage.dataset.dataset import Dataset
from viewer.nearby_shard import nearby_shard
from viewer.selection import Selection
from viewer.static_copy import CopyResult, check_target, draft_of
from viewer.static_pages import STATIC_FOLDER, StaticPages, choose

__all__ = ["write_report"]

KATEX = STATIC_FOLDER / "vendor" / "katex"
# The first of the three types of each font; the others are for browsers from before 2016.
FONT = re.compile(r"src:url\(fonts/(KaTeX_[\w-]+\.woff2)\)[^;}]*")
# A text without these has no formula.
MATH_CHARACTERS = frozenset("$\\")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLinks:
    """The addresses in a report: its parts.

    Args:
        anchors: The part of each trace.
        query: The selection of the list. Other lists need a server.
    """

    anchors: Mapping[str, str]
    query: str

    def asset(self, name: str) -> str:
        """See `Links.asset`: a report contains its files."""
        return ""

    def overview(self, query: str = "") -> str:
        """See `Links.overview`."""
        return "#overview"

    def traces(self, query: str = "") -> str:
        """See `Links.traces`."""
        return "#traces" if query in ("", self.query) else ""

    def list_page(self, selection: Selection, page: int) -> str:
        """See `Links.list_page`."""
        return "#traces"

    def trace(self, trace_id: str, query: str = "") -> str:
        """See `Links.trace`."""
        return self.anchors.get(trace_id, "")

    def step(self, trace_id: str, number: int, start: int = 1) -> str:
        """See `Links.step`: a report contains its evidence."""
        return ""

    def tree(self, trace_id: str) -> str:
        """See `Links.tree`: a report has no prefix trees."""
        return ""


def write_report(
    dataset: Dataset,
    file: str,
    limit: int | None,
    *,
    where: str = "",
    queue: str = "",
    trace_ids: Sequence[str] = (),
) -> CopyResult:
    """Write the overview and the traces of a selection to a new file.

    The file is complete, or does not exist.

    Args:
        dataset: The dataset.
        file: The file, which does not exist yet.
        limit: The number of traces at most; None for all that are selected.
        where: A SELECT with the column trace_id; "" for all traces.
        queue: One of the queues of the list; "" for all traces.
        trace_ids: The ids of the traces; all if there are none.

    Raises:
        ConfigError: The file exists, or the selection is invalid.
        DatasetError: The dataset is missing, a part is damaged, or the file cannot be written.
    """
    target = check_target(file, "--to")
    if file.endswith("/"):
        raise ConfigError(f"--to {file}: name a file, not a folder")
    try:
        if target.exists() or target.is_symlink():
            raise ConfigError(f"{file} exists: choose another file for --to, or remove it")
        with draft_of(target, "--to") as draft, nearby_shard(dataset) as nearby:
            summary, choice = choose(dataset, limit, where=where, queue=queue, trace_ids=trace_ids)
            rows = enumerate(choice.rows, start=1)
            anchors = {row.trace_id: f"#trace-{number}" for number, row in rows}
            links = ReportLinks(anchors=anchors, query=choice.selection.query_string())
            parts = StaticPages(
                dataset=dataset,
                nearby=nearby,
                summary=summary,
                choice=choice,
                links=links,
                layout="_fragment.html",
            )
            draft.write_text(_html(parts), encoding="utf-8", newline="\n")
    except OSError as error:
        raise DatasetError(f"cannot write {file}: {error.strerror or error}") from error
    return CopyResult(traces=len(choice.rows), selected=choice.selected, size=target.stat().st_size)


def _html(parts: StaticPages) -> Markup:
    overview = parts.overview()
    count = len(parts.choice.rows)
    traces = parts.list_page(1, page_rows=max(count, 1))
    sections_by_number = dict[int, Markup]()
    for number in parts.numbers():
        anchor = f"trace-{number + 1}-"
        sections_by_number[number] = parts.trace(number, anchor=anchor, has_siblings=False)
    sections = [sections_by_number[number] for number in range(count)]
    style = _text("style.css")
    scripts = [_text("page.js")]
    if any(MATH_CHARACTERS.intersection(text) for text in (overview, traces, *sections)):
        style = _font_style() + style
        scripts = [_text("vendor/katex/katex.min.js"), _text("vendor/katex/auto-render.min.js")]
        scripts.append(_text("page.js"))
    theme_script = _text("theme.js")
    report = StaticPages(
        dataset=parts.dataset,
        nearby=parts.nearby,
        summary=parts.summary,
        choice=parts.choice,
        links=parts.links,
        layout="base.html",
        policy=_policy(style, [theme_script, *scripts]),
    )
    return report.render(
        "report.html",
        overview=overview,
        traces=traces,
        sections=sections,
        style=style,
        theme_script=theme_script,
        scripts=scripts,
    )


def _policy(style: str, scripts: Sequence[str]) -> str:
    """Return the content security policy that permits these texts, and no other style or script."""
    script_sources = " ".join(_source(script) for script in scripts)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {script_sources}",
            f"style-src {_source(style)}",
            "font-src data:",
            "form-action 'none'",
            "base-uri 'none'",
        )
    )


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _text(name: str) -> Markup:
    """Return the text of a file of Stepmark, which needs no escaping."""
    return Markup((STATIC_FOLDER / name).read_text(encoding="utf-8"))


def _font_style() -> Markup:
    """Return the style of formulas with its fonts."""
    return Markup(FONT.sub(_embedded, _text("vendor/katex/katex.min.css")))


def _embedded(match: re.Match[str]) -> str:
    content = base64.b64encode((KATEX / "fonts" / match[1]).read_bytes()).decode()
    return f'src:url(data:font/woff2;base64,{content}) format("woff2")'
