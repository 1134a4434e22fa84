"""The page of a report, opened in headless Chromium without a network.

No error is told, every chart is drawn, the keyboard reaches everything, and nothing is wider than
the window: in light and in dark, wide and narrow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eventstore import EventStore, StoreStats
from eventstore.analysis import write_report
from handlers import FullState, trading_registry
from tests.analysis.report_stores import HOSTILE, hostile, trading
from tests.support.browser import headless_browser
from tests.support.counting import registry as counting

pytestmark = pytest.mark.slow

COLUMNS = {"cash": "cash", "nothing": "marks['nowhere'].price"}
DRAWN = {
    "equity", "drawdown", "realised", "position-1", "position-2", "column-1", "operations",
    "latency", "waits", "records", "history", "snapshots",
}  # fmt: skip

INK = """(figure) => [...figure.querySelectorAll("canvas")].map((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Set();
    let ink = 0;
    for (let at = 0; at < data.length; at += 4)
        if (data[at + 3] > 40) {
            ink++;
            colours.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]);
        }
    return [ink, colours.size, canvas.width * canvas.height];
})[0]"""
"""Pixels that are drawn, their colours, and all pixels of a chart."""


class Pages(NamedTuple):
    """The files of three reports: of an engine, of texts that would be HTML, of an empty store."""

    engine: Path
    hostile: Path
    empty: Path
    one: Path


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    folder = tmp_path_factory.mktemp("report")

    async def counted(times: int) -> StoreStats:
        async with EventStore.open(folder / f"counted-{times}", counting()) as store:
            for _ in range(times):
                await store.append("count", {"n": 1})
            return store.stats()

    asyncio.run(trading(folder / "engine"))
    asyncio.run(hostile(folder / "hostile"))

    async def begin() -> None:
        async with EventStore.open(folder / "one", trading_registry()) as store:
            await store.append(FullState(cash=1_234_567_890.12))

    asyncio.run(begin())
    stats = asyncio.run(counted(20))
    asyncio.run(counted(0))
    found = Pages(*(folder / f"{name}.html" for name in Pages._fields))
    registry = trading_registry()
    write_report(folder / "engine", found.engine, registry, columns=COLUMNS, stats=stats)
    write_report(folder / "hostile", found.hostile, registry, columns={"<b>": "cash"})
    write_report(folder / "counted-0", found.empty)
    write_report(folder / "one", found.one, registry)
    return found


@pytest.fixture(scope="module")
def browser(pages: Pages) -> Iterator[Any]:
    """Start a browser. The stores are made before, as playwright runs a loop in this thread."""
    with headless_browser() as found:
        yield found


Opened = Callable[..., Any]


@pytest.fixture
def opened(browser: Any) -> Iterator[Opened]:
    """Open a page, and find at the end that nothing went wrong in it."""
    contexts, told = [], []

    def open_page(file: Path, width: int = 1400, **options: Any) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, offline=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: told.append(f"error: {error}"))
        page.on("requestfailed", lambda request: told.append(f"request: {request.url}"))
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready=yes]", timeout=10_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert told == []


@pytest.mark.parametrize("width", [1400, 380])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_is_drawn(opened: Opened, pages: Pages, scheme: str, width: int) -> None:
    page = opened(pages.engine, width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(246, 247, 249)", "dark": "rgb(14, 17, 22)"}[scheme]
    figures = page.query_selector_all("figure")
    found = {figure.get_attribute("id").removeprefix("chart-"): figure for figure in figures}
    assert found.keys() == DRAWN | {"column-2"}
    for name in DRAWN:
        ink, colours, pixels = found[name].evaluate(INK)
        assert ink > pixels / 200, name
        assert colours > 2, name
        box = found[name].bounding_box()
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= width, name
    captions = [one.bounding_box() for one in page.query_selector_all("caption .about")]
    visible = [one for one in captions if one is not None]
    assert visible
    assert all(one["x"] + one["width"] <= width for one in visible), "text that is cut off"
    assert "No state has a number at marks['nowhere'].price." in found["column-2"].inner_text()


TOO_WIDE = """() => {
    const ctx = document.createElement("canvas").getContext("2d");
    ctx.font = "12px system-ui, 'DejaVu Sans', sans-serif";
    return Charts.drawn.flatMap(({ plot }) => plot.axes[1]._values.filter((text) =>
        ctx.measureText(text ?? "").width > plot.axes[1]._size - 10));
}"""


@pytest.mark.parametrize("width", [1400, 380])
def test_the_texts_of_an_axis_have_room(opened: Opened, pages: Pages, width: int) -> None:
    for file in (pages.engine, pages.one):
        page = opened(file, width)
        assert page.evaluate(TOO_WIDE) == []
        assert page.evaluate("Charts.drawn.length") > 0


def test_the_keyboard_reaches_everything(opened: Opened, pages: Pages) -> None:
    page = opened(pages.engine)
    wanted = page.evaluate("""[...document.querySelectorAll(
        "a[href], button, summary, [tabindex='0']")].length""")
    seen = []
    for _ in range(wanted):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("""(() => {
                const it = document.activeElement, style = getComputedStyle(it);
                const width = parseFloat(style.outlineWidth);
                return [it.className || it.tagName, style.outlineStyle, width];
            })()""")
        )
    assert len({*map(str, seen)}) > 5
    assert seen[0][0] == "skip"
    assert sum(name == "plot" for name, _, _ in seen) == len(DRAWN)
    assert [one for one in seen if one[1] == "none" or one[2] < 2] == [], "a focus that is not seen"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "BODY", "there is no more"


def test_a_chart_is_read_with_keys(opened: Opened, pages: Pages) -> None:
    page = opened(pages.engine)
    plot = page.locator("#chart-equity .plot")
    plot.focus()
    page.keyboard.press("End")
    live = page.locator("#live").inner_text()
    equity = page.locator("#facts .value").first.inner_text().rstrip("0").rstrip(".")
    assert f"Equity: {equity} USD" in live
    assert "2026-03-02 " in live
    assert page.locator("#chart-equity .tip").is_visible()
    page.keyboard.press("Home")
    assert "Equity: 100,000 USD" in page.locator("#live").inner_text()
    scale = "(() => { const { min, max } = Charts.drawn[%d].plot.scales.x; return max - min; })()"
    whole = page.evaluate(scale % 0)
    page.keyboard.press("+")
    page.wait_for_timeout(50)
    assert page.evaluate(scale % 0) < whole * 0.6
    assert page.evaluate(scale % 1) == page.evaluate(scale % 0), "charts of time zoom together"
    page.keyboard.press("0")
    page.wait_for_timeout(50)
    assert page.evaluate(scale % 1) == whole


def test_a_drag_zooms_all_charts_of_time(opened: Opened, pages: Pages) -> None:
    page = opened(pages.engine)
    box = page.locator("#chart-equity .u-over").bounding_box()
    middle = box["y"] + box["height"] / 2
    scale = "(() => { const { min, max } = Charts.drawn[%d].plot.scales.x; return [min, max]; })()"
    whole = page.evaluate(scale % 1)
    page.mouse.move(box["x"] + box["width"] * 0.25, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, middle, steps=4)
    page.mouse.up()
    page.wait_for_timeout(50)
    low, high = page.evaluate(scale % 1)
    assert high - low == pytest.approx((whole[1] - whole[0]) / 4, rel=0.05)
    assert page.evaluate(scale % 0) == [low, high]
    page.mouse.dblclick(box["x"] + 50, middle)
    page.wait_for_timeout(50)
    assert page.evaluate(scale % 1) == whole


def test_tables_have_the_figures_of_the_charts(opened: Opened, pages: Pages) -> None:
    page = opened(pages.engine)
    for name in sorted(DRAWN):
        details = page.locator(f"#chart-{name} details")
        details.locator("summary").click()
        details.locator("tbody tr").first.wait_for()
        rows = details.locator("tbody tr").all_inner_texts()
        assert 0 < len(rows) <= 40, name
    rows = page.locator("#chart-operations tbody tr").all_inner_texts()
    counted = sum(int(cell.split()[0]) for row in rows for cell in row.split("\t")[1:])
    facts = page.locator("#facts").inner_text()
    assert f"Events\n{counted:,}" in facts or f"Events\n\n{counted:,}" in facts
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400


def test_colours_are_switched_and_kept(opened: Opened, pages: Pages) -> None:
    page = opened(pages.engine, color_scheme="light")
    theme = "document.documentElement.dataset.theme"
    shown = [(page.locator("#theme").inner_text(), page.evaluate(theme))]
    for _ in range(3):
        page.locator("#theme").click()
        shown.append((page.locator("#theme").inner_text(), page.evaluate(theme)))
    assert [name for name, _ in shown] == [f"Colours: {name}" for name in
                                           ("auto", "light", "dark", "auto")]  # fmt: skip
    assert [kind for _, kind in shown] == ["light", "light", "dark", "light"]
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(50)
    assert page.evaluate(theme) == "dark", "automatic colours follow the system"


def test_no_text_of_a_store_is_executed(opened: Opened, pages: Pages) -> None:
    page = opened(pages.hostile)
    page.wait_for_timeout(100)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, svg, b").count() == 0
    assert page.locator("script").count() == 3
    assert HOSTILE[0] in page.locator("#sections").inner_text()


def test_an_empty_store_on_a_narrow_screen(opened: Opened, pages: Pages) -> None:
    page = opened(pages.empty, 380)
    assert "The store has no event yet." in page.locator("#operations").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


FIRST_COLOUR = """(figure) => {
    const canvas = figure.querySelector("canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let found = 0;
    for (let at = 0; at < data.length; at += 4)
        found += data[at] === 0x1f && data[at + 1] === 0x6f && data[at + 2] === 0xd6;
    return found;
}"""
"""Pixels of the colour of the first series, in light colours."""


def test_the_only_event_is_a_point(opened: Opened, pages: Pages) -> None:
    """One moment makes no line."""
    page = opened(pages.one, color_scheme="light")
    for name in ("equity", "drawdown"):
        assert page.query_selector(f"#chart-{name}").evaluate(FIRST_COLOUR) > 5, name
