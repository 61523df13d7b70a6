"""The rooms of the house: imports only go down, none go in a circle, and the pure rooms stay pure.

Imports inside functions count like those at the top of a file. Those for type checkers alone count
too: a room that names another's types depends on it. Within a room a part may name the type of the
whole that makes it, if it is listed here as such.
"""

from __future__ import annotations

import ast
import graphlib
import pathlib
import sys
from collections.abc import Iterator

import pytest

import netecho

PACKAGE = pathlib.Path(netecho.__file__).parent
# `options` is below `commands`: targets are resolved by commands, as that imports protocols, and the
# spelling of a target is what options are about. Nothing in options knows of a command.
ROOMS = [
    "program",
    "cli",
    "commands",
    "options",
    "rendering",
    "services",
    "protocols",
    "reactor",
    "measure",
    "plans",
    "impairment",
    "errors",
]
PURE = ["measure", "plans", "impairment", "errors"]
IMPURE = {
    "twisted",
    "socket",
    "ssl",
    "select",
    "selectors",
    "asyncio",
    "time",
    "subprocess",
    "threading",
    "zope",
}
WHOLES: dict[str, set[str]] = {
    # A benchmark makes its connections, and what looks after them: each calls it back.
    "services.benchmark": {
        "services.bench_connection",
        "services.connection_ramp",
        "services.intervals",
        "services.open_loop",
        "services.openers",
        "services.retiring",
        "services.roster",
        "services.timeouts",
    },
    # A lane gives out the open loop's connections, and calls nothing of theirs.
    "services.open_loop": {"services.lanes"},
    # A connection is made for one of HTTP's versions, or for WebSocket, which answers through it.
    "protocols._http_server": {
        "protocols._http1_answers",
        "protocols._http1_server",
        "protocols._http2_server",
        "protocols._http_bounded",
        "protocols._http_impaired",
        "protocols._ws_server",
    },
    # A port has its links, each of which sends through it.
    "protocols._quic_server": {"protocols._quic_server_link"},
    # The connections of which something is kept are in a list that each of them knows.
    "reactor.streams": {"reactor.outgoing"},
}
"""Modules with the parts that name their types: for type checkers alone, as they are imported the other way
round when they run."""
COMMAND_LINE: dict[str, set[str]] = {
    "program": {"cli", "errors"},
    "cli/__init__": {"cli"},
    "cli/command": set(),
    "cli/serve": {"cli", "options", "plans", "impairment"},
    "cli/client": {"cli", "options", "plans", "errors"},
    "cli/bench": {"cli", "options", "plans"},
    "cli/report": {"cli", "options"},
    "cli/worker": {"cli"},
}
"""What reads the command line, and the rooms that it imports before it knows what to do."""
CLOCKS = {"now", "utcnow", "today"}


def modules() -> list[pathlib.Path]:
    """Return every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def room_of(dotted: str) -> str | None:
    """Return the room that a dotted name is in: `None` for the front door and other packages."""
    package, _, rest = dotted.partition(".")
    room = rest.partition(".")[0]
    return room if package == "netecho" and room in ROOMS else None


def name_of(file: pathlib.Path) -> str:
    """Return the dotted name of a module."""
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every dotted name that is imported, however deep in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parse(file: pathlib.Path) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(file.read_text("utf-8"), file.name)


def climbs(name: str, tree: ast.AST) -> list[str]:
    """Return the imports of a module that go up the list of rooms."""
    room = room_of(name)
    if room is None:
        return []
    return [
        imported
        for imported in imports(tree)
        if (other := room_of(imported)) is not None and ROOMS.index(other) < ROOMS.index(room)
    ]


class AtRunTime(ast.NodeTransformer):
    """Leaves out of a module what is there for type checkers alone."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """Leave out what stands under `TYPE_CHECKING`."""
        if ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING":
            return node.orelse
        return self.generic_visit(node)


Graph = dict[str, set[str]]
"""For each module, by its dotted name within the package, those that it imports."""


def graph_of(trees: dict[str, ast.Module]) -> Graph:
    """Return which modules import which, of a package's."""
    graph: Graph = {}
    for name, tree in trees.items():
        found = graph[name] = set()
        for imported in imports(tree):
            inner = imported.partition(".")[2]
            whole = inner if inner in trees else inner.rpartition(".")[0]
            if imported.startswith("netecho.") and whole in trees and whole != name:
                found.add(whole)
    return graph


def package() -> dict[str, ast.Module]:
    """Return the syntax tree of each module by its name within the package, whose front doors have none."""
    named = {name_of(file).removesuffix(".__init__").partition(".")[2]: file for file in modules()}
    return {name: parse(file) for name, file in named.items() if name and name != "__main__"}


def circle_in(graph: Graph) -> list[str]:
    """Return modules each of which imports the next, from one to the same; none if there is no circle."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(reversed(error.args[1]))
    return []


def test_every_module_has_a_room() -> None:
    """No module stands outside the rooms, but for the two front doors."""
    outside = {name_of(file) for file in modules() if room_of(name_of(file)) is None}
    assert outside == {"netecho.__init__", "netecho.__main__"}


def test_a_climb_is_seen() -> None:
    """The rule sees an import that goes up, at the top of a file, in a function, and for types."""
    up = "from netecho.cli import app"
    for text in (
        up,
        f"def f():\n    {up}",
        f"if TYPE_CHECKING:\n    {up}",
        "from netecho import cli",
        "import netecho.cli",
    ):
        assert climbs("netecho.measure.summary", ast.parse(text)), text
    assert not climbs("netecho.cli", ast.parse("from netecho.measure import summary"))


@pytest.mark.parametrize("file", modules(), ids=name_of)
def test_imports_go_down(file: pathlib.Path) -> None:
    """A room knows only those below it."""
    assert climbs(name_of(file), parse(file)) == []


def test_a_circle_is_seen() -> None:
    """The rule sees a circle within a room, whichever of the forms of an import closes it."""
    for text in (
        "from netecho.measure.b import B",
        "def f():\n    from netecho.measure import b",
        "import netecho.measure.b",
    ):
        trees = {
            "measure": ast.parse(""),
            "measure.a": ast.parse(text),
            "measure.b": ast.parse("from netecho.measure.a import A"),
        }
        assert set(circle_in(graph_of(trees))) == {"measure.a", "measure.b"}, text
    trees["measure.a"] = ast.parse(f"if typing.TYPE_CHECKING:\n    {text}\nelse:\n    import sys")
    assert circle_in(graph_of(trees)) == ["measure.a", "measure.b", "measure.a"]
    assert circle_in(graph_of({name: AtRunTime().visit(tree) for name, tree in trees.items()})) == []


def test_no_imports_in_a_circle() -> None:
    """Of two modules one can be read, changed and imported without the other."""
    running = graph_of({name: AtRunTime().visit(tree) for name, tree in package().items()})
    assert circle_in(running) == []


def test_no_types_in_a_circle() -> None:
    """Nor does one need the other's types, but for the parts of a whole."""
    graph = graph_of(package())
    for whole, parts in WHOLES.items():
        for part in parts:
            graph[part].remove(whole)
    assert circle_in(graph) == []
    for whole, parts in WHOLES.items():
        for part in parts:
            assert circle_in({**graph, part: graph[part] | {whole}}), f"{part} is no part of {whole}"


@pytest.mark.parametrize("file", [file for file in modules() if room_of(name_of(file)) in PURE], ids=name_of)
def test_pure_rooms(file: pathlib.Path) -> None:
    """What measures and plans has no Twisted, no socket, no clock: it is told what happened, and when."""
    tree = parse(file)
    assert {name.partition(".")[0] for name in imports(tree)}.isdisjoint(IMPURE)
    asked = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert asked.isdisjoint(CLOCKS)


@pytest.mark.parametrize(("name", "rooms"), COMMAND_LINE.items())
def test_command_line_is_light(name: str, rooms: set[str]) -> None:
    """The command line imports Typer, the standard library, and the rooms that it reads flags with."""
    tree = parse(PACKAGE / f"{name}.py")
    at_the_top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    found = set(imports(at_the_top))
    others = {name for name in found if name.partition(".")[0] not in sys.stdlib_module_names}
    assert {name.partition(".")[0] for name in others} <= {"typer", "netecho"}
    assert {room_of(name) for name in others if name.startswith("netecho.")} == rooms


def test_every_command_is_light() -> None:
    """No file of the command line is left out of that."""
    assert set(COMMAND_LINE) == {"program"} | {f"cli/{file.stem}" for file in (PACKAGE / "cli").glob("*.py")}


@pytest.mark.parametrize("file", sorted((PACKAGE / "options").glob("*.py")), ids=name_of)
def test_options_are_light(file: pathlib.Path) -> None:
    """So does what it reads them with: a protocol is imported when a target is resolved, not before."""
    tree = parse(file)
    at_the_top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    for name in imports(at_the_top):
        top = name.partition(".")[0]
        assert top in {"typer", "netecho"} or top in sys.stdlib_module_names
        assert room_of(name) in {None, "options", "plans", "impairment", "errors"}
