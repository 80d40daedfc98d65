"""The gallery page in a real browser, against a scripted API (scripted_gallery.py)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

from sagaforge.errors import DeadlineExceeded, InvalidInput
from sagaforge.image_schemas import MAX_SEED, ImageRequest
from tests.support.scripted_gallery import STEPS, Studio, serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = '<img src=x onerror="document.title = 1"><b>bold</b>'
TIMEOUT_MS = 30_000  # a laptop that trains a model meanwhile


@dataclass
class Visit:
    """A page in a context of its own. `expected`: the HTTP failures that the test brings about."""

    page: Page
    expected: set[int] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    failures: set[int] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)

    def heard(self, message: ConsoleMessage) -> None:
        # That a response failed is looked at by its status.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    with serving() as studio:
        yield studio


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; `make browser` installs it")
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=4 * TIMEOUT_MS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, studio: Studio) -> Iterator[Visit]:
    """Every test: no complaint on the console, no failure but its own, nothing from another host."""
    studio.reset()
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MS)
    visit = Visit(context.new_page())
    visit.page.on("console", visit.heard)
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on("request", lambda request: visit.addresses.add(request.url))
    visit.page.on("response", lambda response: response.status >= 400 and visit.failures.add(response.status))
    yield visit
    context.close()
    assert visit.complaints == []
    assert visit.failures <= visit.expected
    assert [url for url in visit.addresses if not url.startswith((studio.url, "data:", "blob:"))] == []


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit.page


def opened(page: Page, studio: Studio, fragment: str = "") -> Page:
    page.goto(f"{studio.url}/gallery{fragment}")
    expect(page.get_by_label("Cyberpunk")).to_be_attached()
    return page


def paint(page: Page, prompt: str = "a lighthouse") -> None:
    page.get_by_label("What should be painted?").fill(prompt)
    page.get_by_role("button", name="Paint", exact=True).click()


def state(page: Page) -> Locator:
    return page.locator(".job-state")


def pictures(page: Page) -> Locator:
    return page.locator("#grid").get_by_role("button")


def is_drawn(img: Locator) -> bool:
    return bool(img.evaluate("img => img.decode().then(() => img.naturalWidth > 0, () => false)"))


# --- painting ---------------------------------------------------------------------------------------------------------


def test_what_is_typed_and_picked_is_what_is_asked_for(page: Page, studio: Studio) -> None:
    opened(page, studio)
    page.get_by_label("Cyberpunk").check()
    page.get_by_text("Options").click()
    page.get_by_label("2", exact=True).check()
    page.get_by_label("Size").select_option(label="Another…")
    page.get_by_label("Width").fill("128")
    page.get_by_label("Height").fill("192")
    page.get_by_label("Steps").fill("3")
    page.get_by_label("Guidance").fill("5.5")
    page.get_by_label("Seed").fill(str(MAX_SEED - 1))
    page.get_by_label("Scheduler").select_option("euler")
    page.get_by_label("Leave out").fill("people")
    page.get_by_label("mara_venn", exact=True).check()
    page.get_by_label("Scale of mara_venn").fill("0.75")
    expect(page.locator("#chosen")).to_contain_text("mara_venn × 0.75")
    prompt = page.get_by_label("What should be painted?")
    prompt.fill("rain over")
    prompt.press("Shift+Enter")
    prompt.press_sequentially("roofs")
    prompt.press("Enter")
    expect(state(page)).to_contain_text("Painted in")
    assert studio.requests == [
        ImageRequest(
            prompt="rain over\nroofs",
            negative_prompt="people",
            style_preset="cyberpunk",
            width=128,
            height=192,
            steps=3,
            cfg_scale=5.5,
            seed=MAX_SEED - 1,
            scheduler="euler",
            lora=[{"name": "mara_venn", "scale": 0.75}],
            num_images=2,
            stream=True,
        )
    ]
    assert re.fullmatch(r"[0-9a-f]{32}", studio.keys[0] or "")


def test_what_is_left_open_is_left_to_the_style(page: Page, studio: Studio) -> None:
    opened(page, studio)
    page.get_by_role("button", name="a girl with silver hair").click()
    page.keyboard.press("Enter")
    expect(state(page)).to_contain_text("Painted in")
    (request,) = studio.requests
    assert request.model_dump(exclude_unset=True).keys() == {"prompt", "num_images", "stream"}
    assert request.prompt.startswith("a girl with silver hair")


def test_nothing_is_asked_for_without_words_or_with_a_wrong_number(page: Page, studio: Studio) -> None:
    opened(page, studio)
    paint(page, "   ")
    page.get_by_text("Options").click()
    page.get_by_label("Steps").fill("900")
    page.get_by_text("Options").click()
    paint(page)
    expect(page.get_by_label("Steps")).to_be_focused()  # unfolded, to show what is wrong
    assert studio.requests == []


def test_the_preview_sharpens_and_the_picture_lands_in_the_grid(page: Page, studio: Studio) -> None:
    studio.hang("an older one")
    opened(page, studio)
    studio.allowed = 1
    paint(page)
    expect(state(page)).to_have_text("Waking the painter…")
    ring = page.get_by_role("progressbar")
    img = page.locator(".canvas img")
    expect(img).to_be_hidden()
    previews = set()
    for done in range(1, STEPS + 1):
        studio.allowed = 1 + done
        expect(state(page)).to_have_text(f"Painting, step {done} of {STEPS}")
        expect(ring if done < STEPS else page.locator(".ring")).to_have_attribute("aria-valuenow", str(25 * done))
        assert is_drawn(img)
        previews.add(img.get_attribute("src"))
    assert len(previews) == STEPS
    expect(pictures(page)).to_have_count(1)
    studio.allowed = 100
    expect(state(page)).to_contain_text("Painted in")
    expect(pictures(page)).to_have_count(2)
    expect(pictures(page).first).to_have_text("a lighthouse")
    expect(img).to_have_attribute("src", studio.pictures[0].image_url)
    assert is_drawn(img)
    assert is_drawn(pictures(page).first.locator("img"))
    page.get_by_role("button", name="Open: a lighthouse").click()
    expect(page.get_by_role("dialog")).to_contain_text("pocket-sdxl")


def test_cancel_ends_the_work_on_the_server(page: Page, studio: Studio) -> None:
    opened(page, studio)
    studio.allowed = 2
    paint(page)
    expect(state(page)).to_contain_text("step 1")
    page.get_by_role("button", name="Cancel").click()
    expect(state(page)).to_have_text("Cancelled")
    assert studio.saw_hang_up.wait(5)
    studio.allowed = 100
    page.get_by_role("button", name="Try again").click()
    expect(state(page)).to_contain_text("Painted in")
    assert studio.keys[0] == studio.keys[1]


def test_leaving_the_page_ends_the_work_on_the_server(page: Page, studio: Studio) -> None:
    opened(page, studio)
    studio.allowed = 2
    paint(page)
    expect(state(page)).to_contain_text("step 1")
    page.goto("about:blank")
    assert studio.saw_hang_up.wait(5)


def test_an_open_word_is_not_sent_by_the_enter_that_takes_it(page: Page, studio: Studio) -> None:
    opened(page, studio)
    prompt = page.get_by_label("What should be painted?")
    prompt.fill("港口")
    prompt.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".job")).to_have_count(0)
    assert studio.requests == []


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_early", [True, False])
def test_a_failure_says_what_is_wrong_and_can_be_tried_again(visit: Visit, studio: Studio, is_early: bool) -> None:
    visit.expected = {504} if is_early else set()
    page = opened(visit.page, studio)
    studio.failure, studio.is_failure_early = DeadlineExceeded("It took longer than 120 s."), is_early
    paint(page)
    notice = page.get_by_role("alert").filter(has_text="Deadline exceeded")
    expect(notice).to_contain_text("It took longer than 120 s.")
    expect(notice).to_contain_text("ask for fewer or smaller pictures")
    page.get_by_role("button", name="Try again").click()
    expect(state(page)).to_contain_text("Painted in")
    expect(notice).to_have_count(0)
    assert studio.keys[0] == studio.keys[1]


def test_a_connection_that_breaks_off_is_told(page: Page, studio: Studio) -> None:
    opened(page, studio)
    studio.drops = True
    paint(page)
    expect(page.get_by_role("alert").filter(has_text="No answer")).to_contain_text("broke off")
    page.get_by_role("button", name="Try again").click()
    expect(state(page)).to_contain_text("Painted in")


def test_what_others_wrote_is_text(visit: Visit, studio: Studio) -> None:
    visit.expected = {422}
    picture = studio.hang(HOSTILE, negative_prompt=HOSTILE)
    page = opened(visit.page, studio, f"#{picture.image_id}")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text(HOSTILE)
    expect(dialog.locator("dd", has_text=HOSTILE)).to_have_count(2)
    page.keyboard.press("Escape")
    expect(pictures(page).first).to_have_text(HOSTILE)
    studio.failure, studio.is_failure_early = InvalidInput(f"prompt: {HOSTILE}"), True
    paint(page, HOSTILE)
    expect(page.get_by_role("alert").filter(has_text=HOSTILE)).to_be_visible()
    paint(page, HOSTILE)
    expect(state(page)).to_contain_text("Painted in")
    assert page.locator("b, img[src=x]").count() == 0
    assert page.title() == "Gallery · SagaForge"


# --- what was made ----------------------------------------------------------------------------------------------------


def test_the_receipt_is_shown_and_makes_another_one(page: Page, studio: Studio) -> None:
    studio.hang("first")
    request = {"style_preset": "fantasy_art", "lora": ["mara_venn", "gone"], "width": 64, "height": 96, "steps": 2}
    studio.hang("a quay", seed=MAX_SEED, cfg_scale=0.0, num_images=3, **request)
    studio.receipts[studio.pictures[0].image_id].seed = MAX_SEED
    opened(page, studio)
    pictures(page).first.click()
    dialog = page.get_by_role("dialog")
    facts = dict(zip(dialog.locator("dt").all_inner_texts(), dialog.locator("dd").all_inner_texts(), strict=True))
    assert facts["Style"] == "Fantasy art"
    assert facts["As the model read it"] == "a quay, fantasy_art"
    assert facts["Size"] == "64 × 96, painted at 128 × 128"
    assert facts["Seed"] == str(MAX_SEED)  # to its last digit, beyond JavaScript's numbers
    assert facts["Adapters"].splitlines()[0] == "mara_venn × 1 (CC-BY-4.0)"
    assert facts["Licence"] == "CC0-1.0"
    dialog.get_by_text("Fingerprints").click()
    expect(dialog.get_by_text("00c0ffee42")).to_be_visible()
    assert is_drawn(dialog.locator("img"))

    dialog.get_by_role("button", name="Make another like this").click()
    expect(dialog).to_be_hidden()
    page.get_by_label("What should be painted?").press("Enter")
    expect(state(page)).to_contain_text("Painted in")
    pictures(page).nth(1).click()
    dialog.get_by_role("button", name="Same seed").click()
    page.get_by_label("What should be painted?").press("Enter")
    expect(pictures(page)).to_have_count(4)
    another, same = studio.requests
    assert another == ImageRequest(prompt="a quay", cfg_scale=0.0, stream=True, **request)
    assert same == another.model_copy(update={"seed": MAX_SEED})


def test_a_picture_is_closed_by_escape_back_and_beside_it(page: Page, studio: Studio) -> None:
    picture = studio.hang("a quay")
    opened(page, studio)
    dialog = page.get_by_role("dialog")
    for close in (lambda: page.keyboard.press("Escape"), page.go_back, lambda: page.mouse.click(5, 5)):
        pictures(page).first.focus()
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("heading")).to_have_text("a quay")
        assert page.url.endswith(f"#{picture.image_id}")
        close()
        expect(dialog).to_be_hidden()
        expect(page).to_have_url(f"{studio.url}/gallery")
    expect(pictures(page).first).to_be_focused()


def test_a_link_leads_to_the_picture_and_a_dead_one_says_so(visit: Visit, studio: Studio) -> None:
    visit.expected = {404}
    picture = studio.hang("a quay")
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, studio, f"#{picture.image_id}")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Copy link").click()
    expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"{studio.url}/gallery#{picture.image_id}"
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == f"sagaforge-{picture.image_id}.png"
    page.evaluate("location.hash = 'f'.repeat(32)")
    expect(dialog.get_by_role("alert")).to_contain_text("There is no picture")


def test_older_pictures_come_page_by_page(page: Page, studio: Studio) -> None:
    expect(opened(page, studio).get_by_text("Nothing yet.")).to_be_visible()
    for number in range(60):
        studio.hang(f"picture {number}")
    page.reload()
    older = page.get_by_role("button", name="Show older pictures")
    for count in (24, 48, 60):
        expect(pictures(page)).to_have_count(count)
        if count < 60:
            older.click()
    expect(older).to_be_hidden()
    expect(page.get_by_text("Nothing yet.")).to_be_hidden()
    assert pictures(page).all_inner_texts() == [f"picture {number}" for number in reversed(range(60))]
    assert [one.limit for one in studio.listed[1:]] == [24] * 3


# --- with a key -------------------------------------------------------------------------------------------------------


def test_with_a_key_the_page_asks_for_it_and_keeps_it_for_the_tab(visit: Visit, studio: Studio) -> None:
    visit.expected = {401}
    studio.hang("a quay")
    studio.key = "a-long-secret"
    page = visit.page
    page.goto(studio.url)  # leads to the gallery
    field = page.get_by_label("API key")
    for wrong, reason in (("another", "not valid here"), ("clé secrète", "ASCII")):
        field.fill(wrong)
        page.get_by_role("button", name="Unlock").click()
        expect(page.get_by_role("alert")).to_contain_text(reason)
    field.fill(studio.key)
    page.keyboard.press("Enter")
    expect(field).to_be_hidden()
    expect(page.get_by_label("Cyberpunk")).to_be_attached()
    assert is_drawn(pictures(page).first.locator("img"))
    paint(page)
    expect(state(page)).to_contain_text("Painted in")
    expect(page.locator(".canvas img")).to_have_attribute("src", re.compile("^blob:"))
    assert is_drawn(page.locator(".canvas img"))
    pictures(page).first.click()
    assert is_drawn(page.get_by_role("dialog").locator(".frame img"))
    page.keyboard.press("Escape")
    expect(page).to_have_url(f"{studio.url}/gallery")

    page.reload()
    expect(pictures(page)).to_have_count(2)
    assert studio.key not in page.evaluate("JSON.stringify({...localStorage}) + document.cookie + location.href")
    page.get_by_role("button", name="Forget the key").click()
    expect(field).to_be_visible()
    expect(pictures(page)).to_have_count(0)


def test_on_a_phone_nothing_runs_over_the_edge(page: Page, studio: Studio) -> None:
    for number in range(5):
        studio.hang(f"picture {number} " + "extraordinarily" * 20)
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, studio)
    page.get_by_text("Options").click()
    paint(page, "unbreakable" * 40)
    expect(state(page)).to_contain_text("Painted in")
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) == 390
    pictures(page).nth(1).click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_be_visible()
    assert page.evaluate("document.querySelector('dialog').scrollWidth") == 390
    assert page.evaluate(width) == 390
