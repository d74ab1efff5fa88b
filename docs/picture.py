"""Draws the packages of src/datacat and lists their modules, from the sources themselves.

python docs/picture.py            check that docs/architecture.md shows what the sources say
python docs/picture.py --write    write it there
"""

import ast
import pathlib
import sys

DOCS = pathlib.Path(__file__).resolve().parent
SOURCES = DOCS.parent / "src" / "datacat"
PAGE = DOCS / "architecture.md"
BEGIN, END = "<!-- begin: docs/picture.py -->\n", "<!-- end: docs/picture.py -->\n"
# A record's way from the application to the server, which is also the way of the imports.
PACKAGES = (
    "testing",
    "cli",
    "integrations",
    "session",
    "heartbeats",
    "upstream",
    "recorder",
    "meters",
    "timers",
    "recorded",
    "client",
    "process",
    "sending",
    "outbox",
    "wire",
    "records",
)
BASE = (
    "scope",
    "settings",
    "limits",
    "notices",
    "locks",
    "descriptors",
    "urls",
    "checks",
    "errors",
    "stack",
    "wrapping",
    "finalizers",
    "_compat",
    "_version",
)
APART = ("annotations", "collector")
FACE = ("__init__", "__main__")


def unit_of(parts):
    """Return the package, or the single module, that a dotted path below datacat belongs to."""
    return parts[0] if parts else "__init__"


def modules():
    """Return {dotted path below datacat, as a tuple: (source tree, is a package)}."""
    found = {}
    for path in sorted(SOURCES.rglob("*.py")):
        parts = path.relative_to(SOURCES).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found[parts[:-1] if is_package else parts] = tree, is_package
    return found


def imported(parts, tree, is_package, known):
    """Yield the modules of datacat that a module imports, as tuples."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = parts[: len(parts) - node.level + is_package]
            elif node.module and node.module.split(".")[0] == "datacat":
                base = ()
            else:
                continue
            names = (node.module or "").split(".") if node.module else []
            base += tuple(names[1:] if not node.level else names)
            for alias in node.names:
                yield base + (alias.name,) if base + (alias.name,) in known else base


def arrows(found):
    """Return the pairs of units (who imports, whom), without the base."""
    pairs = set()
    for parts, (tree, is_package) in found.items():
        for other in imported(parts, tree, is_package, found):
            pair = unit_of(parts), unit_of(other)
            if pair[0] != pair[1] and not set(pair) & set(BASE + APART + FACE):
                pairs.add(pair)
    return sorted(pairs, key=lambda pair: (PACKAGES.index(pair[0]), PACKAGES.index(pair[1])))


def picture(found):
    """Return the lines of a Mermaid graph of the packages."""
    lines = ["```mermaid", "graph TD"]
    lines += ["    %s --> %s" % pair for pair in arrows(found)]
    lines += ["    everyone -.-> base[base: %s]" % ", ".join(BASE), "```"]
    return lines


def summary(tree):
    """Return the first line of a module's docstring, without its full stop."""
    return (ast.get_docstring(tree) or "").split("\n")[0].rstrip(".")


def listing(found):
    """Return the lines of a table of all modules."""
    lines = ["| module | what it is |", "|---|---|"]
    for unit in PACKAGES + BASE + APART:
        inside = sorted(parts for parts in found if parts and parts[0] == unit)
        for parts in inside:
            name = "/".join(parts) + ("/" if found[parts][1] else "")
            name = "**%s**" % name if len(parts) == 1 else "&emsp;" + parts[-1]
            lines.append("| %s | %s |" % (name, summary(found[parts][0]).replace("|", "\\|")))
    return lines


def page():
    """Return docs/architecture.md as it should be."""
    found = modules()
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    generated = "\n".join(picture(found) + [""] + listing(found))
    return before + BEGIN + generated + "\n" + END + after


def main():
    """Check the page or write it; return the exit status."""
    wanted = page()
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(wanted, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != wanted:
        print("docs/architecture.md is stale: run python docs/picture.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
