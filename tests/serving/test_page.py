"""The page in a browser, as a person uses it: drawings, a curve, a table. Needs playwright and a chromium."""

import json
import re
import shutil

import pytest
from serve_process import serving, stopped

from mtnets.serving.access import TOKEN

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 240  # until a sentence has come; the first of its kind waits for a compilation
QUIET = 8  # tenths of a second without a request; the page waits for up to four before it asks
SECRET = "a-token-of-the-tests"
# Corners of symbols in units of the box
SHAPES = {
    "line": [(0.2, 0.8), (0.8, 0.2)],
    "corner": [(0.2, 0.2), (0.2, 0.8), (0.8, 0.8)],
    "square": [(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8), (0.2, 0.2)],
}
TABLE = "size\tkind\tprice\n" + "".join(f"{n}\t{'ab'[n % 2]}\t{2 * n}\n" for n in range(1, 13)) + "6.5\ta\t\n"


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address():
    with serving() as (process, address):
        yield address
        assert stopped(process) == 0


def of_ours(message) -> bool:
    """Whether a line of the console tells of a mistake; the browser logs requests that the server refuses, too."""
    return message.type in ("error", "warning") and "status of 422" not in message.text


@pytest.fixture
def page(browser, address):
    """The page, which must not log an error, nor ask anybody else."""
    page, wrong = browser.new_page(), []
    page.set_default_timeout(1000 * SECONDS)
    page.on("console", lambda message: wrong.append(message.text) if of_ours(message) else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request", lambda asked: None if asked.url.startswith((address, "data:", "blob:")) else wrong.append(asked.url)
    )
    page.asking = set()

    def begun(asked) -> None:
        page.asking.add(asked)

    def ended(asked) -> None:
        page.asking.discard(asked)

    page.on("request", begun)
    page.on("requestfinished", ended)
    page.on("requestfailed", ended)
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    yield page
    assert wrong == []
    page.close()


def draw(page, canvas, shape, shift=0.0) -> None:
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    at = [(box["x"] + (x + shift) * box["width"], box["y"] + (y + shift) * box["height"]) for x, y in SHAPES[shape]]
    page.mouse.move(*at[0])
    page.mouse.down()
    for x, y in at[1:]:
        page.mouse.move(x, y, steps=5)
    page.mouse.up()


def told(page, id, pattern) -> str:
    """What the page says, when it says this."""
    from playwright.sync_api import expect

    element = page.locator(f"#{id}")
    expect(element).to_have_text(re.compile(pattern), timeout=1000 * SECONDS)
    return element.text_content()


def settled(page) -> None:
    """Waits until the page has asked nothing for some time: it answers while one draws, too."""
    quiet = 0
    while quiet < QUIET:
        page.wait_for_timeout(100)
        quiet = 0 if page.asking else quiet + 1


def draw_set(page) -> None:
    for place, shape in enumerate(SHAPES):
        symbol = page.locator(".class").nth(place)
        symbol.locator("input").fill(shape)
        draw(page, symbol.locator("canvas").first, shape)
    told(page, "drawing-result", "Learned")
    draw(page, page.locator("#query canvas"), "corner", 0.05)


@pytest.mark.slow
def test_drawings(page, tmp_path) -> None:
    assert "Draw in two boxes" in page.locator("#drawing-result").text_content()
    draw_set(page)
    settled(page)
    answer = told(page, "drawing-result", r"^corner, \d")
    shares = page.locator("#drawing-shares li").all_text_contents()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the set").click()
    saved.value.save_as(tmp_path / "set.json")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.locator("#set-file").set_input_files(tmp_path / "set.json")
    settled(page)
    assert told(page, "drawing-result", r"^corner, \d") == answer  # the same to the last digit that is shown
    assert page.locator("#drawing-shares li").all_text_contents() == shares
    page.locator("#drawing-details summary").click()
    page.wait_for_selector("#drawing-moved .strip")
    assert page.locator("#drawing-steps-table thead th").count() == 7  # the name, and steps 0 to 5
    assert page.locator("#drawing-moved .strip").count() == 5  # four convolutions and the head
    page.locator("#query .undo").click()
    told(page, "drawing-result", "Draw one of them")
    page.get_by_role("button", name="Remove symbol square").click()
    page.get_by_role("button", name="Another drawing of it").first.click()
    draw(page, page.locator(".class canvas").nth(1), "line", 0.1)
    draw(page, page.locator("#query canvas"), "line", -0.1)
    told(page, "drawing-result", r"^line, \d")
    assert page.locator("#drawing-shares li").count() == 2
    for bad in (
        "{",
        "[]",
        json.dumps({"kind": "mtnets drawings", "classes": [{"name": "a", "drawings": [[[[9, 9]]]]}]}),
    ):
        (tmp_path / "bad.json").write_text(bad)
        page.locator("#set-file").set_input_files(tmp_path / "bad.json")
        told(page, "drawing-result", "^The file is no")
        page.locator("#drawing-result").evaluate("element => { element.textContent = '' }")
    page.get_by_role("button", name="Clear all").click()
    told(page, "drawing-result", "Draw in two boxes")


@pytest.mark.slow
def test_a_curve_by_the_keyboard(page) -> None:
    page.get_by_role("tab", name="Drawings").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#points").is_visible()
    for x, y in ((-2, -1.8), (0, 0), (1.5, 2)):
        page.locator("#point-x").fill(str(x))
        page.locator("#point-y").fill(str(y))
        page.keyboard.press("Enter")
    told(page, "point-result", "^3 points; squared error")
    page.locator("#plot").focus()
    for key in ("ArrowUp", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    errors = re.findall(r"[\d.e+-]+(?= after)", told(page, "point-result", "^4 points; squared error"))
    assert float(errors[-1]) < float(errors[0])
    page.keyboard.press("Backspace")
    told(page, "point-result", "^3 points; squared error")
    box = page.locator("#plot").bounding_box()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.3 * box["height"])
    told(page, "point-result", "^4 points; squared error")
    page.locator("#points summary").click()
    assert page.locator("#point-moved .strip").count() == 3


@pytest.mark.slow
@pytest.mark.parametrize(("width", "least"), [(320, 150), (390, 230), (1280, 150)])
def test_boxes_are_large_enough_for_a_finger_and_nothing_is_cut(page, width, least) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for name in ("Drawings", "A curve", "A table"):
        page.get_by_role("tab", name=name).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("tab", name="Drawings").click()
    for canvas in page.locator(".drawing canvas").all():
        box = canvas.bounding_box()
        assert box["width"] == pytest.approx(box["height"], abs=1)
        assert least <= box["width"] <= width


@pytest.mark.slow
def test_a_table(page) -> None:
    page.get_by_role("tab", name="A table").click()
    assert page.locator("#table-target").input_value() == "visitors"  # of the example, which works at once
    page.get_by_role("button", name="Predict").click()
    assert "learned from 7" in told(page, "table-result", "^visitors of 2 rows")
    assert page.locator("#table-notes li").count() == 0
    page.locator("#table-clear").click()
    assert page.locator("#table-text").input_value() == page.locator("#table-result").text_content() == ""
    page.locator("#table-text").fill(TABLE)
    assert page.locator("#table-target").input_value() == "price"
    page.get_by_role("button", name="Predict").click()
    price = float(re.search(r": ([\d.]+)$", told(page, "table-result", "^price of 1 row"))[1])
    assert 9 < price < 17
    assert page.locator("#table-answer .predicted").text_content().startswith(str(price)[:3])
    page.locator("#table-text").fill(TABLE.replace("6.5\ta", "6.5\tc"))
    page.get_by_role("button", name="Predict").click()
    page.wait_for_selector("#table-notes li")
    assert "kind is 'c' in 1 row to predict and in none with price" in page.locator("#table-notes").text_content()
    page.locator("#table-text").fill(TABLE.replace("6.5\ta\t\n", ""))
    page.get_by_role("button", name="Predict").click()
    told(page, "table-result", "price is filled in in all rows; leave it empty")


@pytest.mark.slow
def test_a_token_is_asked_for(browser) -> None:
    with serving("sine-10shot", **{TOKEN: SECRET}) as (process, address):
        page = browser.new_page()
        page.goto(address)
        page.locator("#token").fill(SECRET)
        page.get_by_role("button", name="Use it").click()
        page.wait_for_selector("body[data-ready]")
        assert page.locator("#points").is_visible()
        assert page.locator("#tab-drawings").is_hidden()
        page.close()
        assert stopped(process) == 0
