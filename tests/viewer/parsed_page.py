"""Pages as their tags, attributes and text."""

from html.parser import HTMLParser

__all__ = ["Page"]

VOID = frozenset({"meta", "link", "input", "br", "img"})


class Page(HTMLParser):
    """The tags, attributes and visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags = list[tuple[str, dict[str, str | None]]]()
        self.text = ""
        self.open = list[str]()
        self.feed(html)
        self.close()
        assert not self.open, f"tags that are not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, name: str) -> list[str]:
        """Return all values of an attribute."""
        found = []
        for _, attributes in self.tags:
            value = attributes.get(name)
            if value is not None:
                found.append(value)
        return found
