"""What is checked of the site that was built: links, names, and that it needs no network."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and the anchors of a page, and what it loads."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect."""
        given = {name: value for name, value in attrs if value is not None}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") != "canonical" and "href" in given:
            self.loaded.append(given["href"])
        if tag in ("script", "img", "iframe", "source", "video") and "src" in given:
            self.loaded.append(given["src"])


@cache
def _page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def broken_links(site: Path) -> Iterator[str]:
    """Links within the site that lead nowhere, and what a page would load from elsewhere."""
    for path in sorted(site.rglob("*.html")):
        if "_static" in path.relative_to(site).parts:
            continue
        page, name = _page(path), path.relative_to(site).as_posix()
        for link in page.loaded:
            if urlsplit(link).scheme not in ("", "data") or link.startswith("//"):
                yield f"{name}: loads {link} from elsewhere"
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target = target / "index.html"
            if not target.is_file():
                yield f"{name}: the link {link} leads nowhere"
            elif parts.fragment and target.suffix == ".html":
                anchors = _page(target).anchors
                if unquote(parts.fragment) not in anchors and name != "search.html":
                    yield f"{name}: the link {link} names an anchor that is not there"


def inventory(site: Path) -> set[str]:
    """The Python names of the site, from Sphinx's objects.inv."""
    content = (site / "objects.inv").read_bytes()
    lines = zlib.decompress(content.split(b"\n", 4)[4]).decode().splitlines()
    return {line.split(" ", 1)[0] for line in lines if " py:" in line}


def problems(site: Path, names: list[str], modules: list[str]) -> list[str]:
    """All that is wrong with a site that was built."""
    _page.cache_clear()
    there = inventory(site)
    missing = [
        f"{name} is not in the reference" for name in [*names, *modules] if name not in there
    ]
    return [*broken_links(site), *missing]
