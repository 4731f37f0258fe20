"""Adds to the site what is not in docs/: the front page, pages of methods and codecs, linked files.

README.md, CONTRIBUTING.md and CHANGELOG.md become pages as they are. Every yaml of conf/method and
conf/codec gets a page with the docstring of the class that it names, so that a new method appears
by itself. Files outside docs/ that a page links to are copied to files/.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
PAGES["CHANGELOG.md"] = "changelog.md"
GROUPS = {"Methods": "method", "Codecs": "codec"}
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
MARKS = re.compile(r"<!--(?:/|/table|table [\w.-]+|[\w.-]+)-->\n?")  # of docs/measured.py
CODE = re.compile(r"(``.*?``)", re.DOTALL)


class Formulas(griffe.Extension):
    """Shows the formulas of docstrings as written: N*B is no emphasis, lines of equations stay."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Escape a docstring for Markdown, and set indented lines apart as code."""
        if obj.docstring:
            obj.docstring.value = escaped(obj.docstring.value)


def escaped(docstring: str) -> str:
    """Return a docstring as Markdown; the sections of Google's style stay."""
    free, _, rest = docstring.partition("\n\nArgs:\n")
    lines: list[str] = []
    for line in free.split("\n"):
        indented = line.startswith("    ")
        if lines and lines[-1] and indented != lines[-1].startswith("    "):
            lines.append("")
        lines.append(line if indented else plain(line))
    text = "\n".join(lines) + "\n"
    return f"{text}\nArgs:\n{plain(rest)}" if rest else text


def plain(text: str) -> str:
    """Escape what Markdown reads as emphasis, but within code."""
    parts = CODE.split(text)
    return "".join(p if n % 2 else re.sub(r"([*<])", r"\\\1", p) for n, p in enumerate(parts))


def target(option: Path) -> str:
    """Return the class that a yaml names, itself or by the first of its defaults."""
    content = yaml.safe_load(option.read_text(encoding="utf-8"))
    if "_target_" in content:
        return str(content["_target_"])
    return target(option.with_name(f"{content['defaults'][0]}.yaml"))


def page_of(group: str, option: Path) -> str:
    """Return the page of a method or a codec."""
    text = option.read_text(encoding="utf-8").strip()
    module, _, name = target(option).rpartition(".")
    return (
        f"# {group}={option.stem}\n\n`conf/{group}/{option.name}`:\n\n```yaml\n{text}\n```\n\n"
        f"::: {module}\n    options:\n      members: [{name}]\n      show_root_heading: false\n"
    )


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append the generated pages to the navigation."""
    assert config.nav is not None
    for title, group in GROUPS.items():
        options = sorted((ROOT / "conf" / group).glob("*.yaml"))
        config.nav.append({title: [{o.stem: f"{group}/{o.stem}.md"} for o in options]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and the files that pages link to."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text("utf-8")))
    for group in GROUPS.values():
        for option in (ROOT / "conf" / group).glob("*.yaml"):
            page = f"{group}/{option.stem}.md"
            files.append(File.generated(config, page, content=page_of(group, option)))
    for source in [*PAGES, *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]:
        for found in LINK.finditer((ROOT / source).read_text("utf-8")):
            path = resolved(source, found[1])
            if (
                not path.startswith("docs/")
                and path not in PAGES
                and f"files/{path}" not in files.src_uris
            ):
                files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Take the marks of numbers out, and let links point to where files are on the site."""
    sources = {page: name for name, page in PAGES.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def link(found: re.Match[str]) -> str:
        path = resolved(source, found[1])
        uri = PAGES.get(path) or (
            path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}"
        )
        start = posixpath.dirname(page.file.src_uri) or "."
        return posixpath.relpath(uri, start) + (found[2] or "")

    return LINK.sub(link, MARKS.sub("", markdown))


def uri_of(path: str) -> str:
    """Return where the site has a file of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return PAGES.get(path, f"files/{path}")


def resolved(source: str, link: str) -> str:
    """Return the path from the root of what a page links to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
