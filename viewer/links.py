"""Addresses of pages and files, as templates write them."""

import re
from typing import Protocol
from urllib.parse import quote, urlencode

from starlette.requests import Request

from viewer.selection import Selection

__all__ = ["LabelLinks", "Links", "ServerLinks", "trace_id_of"]

# Every other id is a parameter. Servers and browsers decode a path before they look at it: `..`
# would be the page above, and `a/tree` the tree of the trace `a`.
PATH_ID = re.compile(r"[\w~-][\w.~-]*", re.ASCII)


class Links(Protocol):
    """The addresses in a template; "" where there is no such page, so that a link is plain text."""

    def asset(self, name: str) -> str:
        """Return the address of a file of `viewer/static`."""

    def overview(self, query: str = "") -> str:
        """Return the address of the overview."""

    def traces(self, query: str = "") -> str:
        """Return the address of the list of the traces that a query selects."""

    def list_page(self, selection: Selection, page: int) -> str:
        """Return the address of a page of a list, from 1."""

    def trace(self, trace_id: str, query: str = "") -> str:
        """Return the address of a trace, with the list from which it is opened."""

    def step(self, trace_id: str, number: int, start: int = 1) -> str:
        """Return the address of the evidence about a step, with its rollouts from a number on."""

    def tree(self, trace_id: str) -> str:
        """Return the address of the prefix tree of a trace's problem."""


class ServerLinks:
    """The addresses of a server."""

    def asset(self, name: str) -> str:
        """See `Links.asset`."""
        return f"/static/{name}"

    def overview(self, query: str = "") -> str:
        """See `Links.overview`."""
        return _address("/", query)

    def traces(self, query: str = "") -> str:
        """See `Links.traces`."""
        return _address("/traces", query)

    def list_page(self, selection: Selection, page: int) -> str:
        """See `Links.list_page`."""
        return self.traces(selection.query_string(page=page))

    def trace(self, trace_id: str, query: str = "") -> str:
        """See `Links.trace`."""
        return _of_trace(trace_id, "", query)

    def step(self, trace_id: str, number: int, start: int = 1) -> str:
        """See `Links.step`."""
        query = ""
        if start > 1:
            query = urlencode({"from": start})
        return _of_trace(trace_id, f"/steps/{number}", query)

    def tree(self, trace_id: str) -> str:
        """See `Links.tree`."""
        return _of_trace(trace_id, "/tree", "")

    def label(self, trace_id: str, query: str = "") -> str:
        """Return the address of the page on which people label a trace."""
        return _of_trace(trace_id, "", query, "/label")


class LabelLinks(ServerLinks):
    """The addresses on the pages for raters, whose evidence has no labels of other people."""

    def step(self, trace_id: str, number: int, start: int = 1) -> str:
        """See `Links.step`."""
        query = ""
        if start > 1:
            query = urlencode({"from": start})
        return _of_trace(trace_id, f"/steps/{number}", query, "/label")


def trace_id_of(request: Request) -> str:
    """Return the id of the trace that an address of `ServerLinks` names; "" for none."""
    trace_id: str = request.path_params.get("trace_id") or request.query_params.get("id", "")
    return trace_id


def _of_trace(trace_id: str, part: str, query: str, folder: str = "") -> str:
    if PATH_ID.fullmatch(trace_id):
        return _address(f"{folder}/traces/{trace_id}{part}", query)
    parameter = f"id={quote(trace_id, safe='')}"
    if query:
        parameter += f"&{query}"
    return _address(f"{folder}/trace{part}", parameter)


def _address(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path
