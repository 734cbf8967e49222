"""The pages in a browser: clicked, typed at, read; as wide as a desk or a phone."""

import pytest
from browser import CHROMIUM, Browser
from fake_server import fake_server

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Debian's package chromium"
)
# What has no box of its own may be wider than its parent; everything else may not.
OUTSIDE = """[...document.querySelectorAll("body *")].filter((node) =>
  !node.closest(".scroll, pre, .hidden-text") && node.offsetParent
  && node.getBoundingClientRect().right > innerWidth + 1).map((n) => n.outerHTML)"""
UNNAMED = """[...document.querySelectorAll("button, input, a, select")].filter((node) =>
  !(node.innerText || node.ariaLabel || node.labels?.length)).map((n) => n.outerHTML)"""
# Text against what is behind it, as WCAG counts contrast; 4.5 is asked for.
FAINT = """(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => channels(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("body *")].filter((node) =>
    node.offsetParent && !node.disabled && !node.closest("button:disabled")
    && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
    .map((node) => {
      const [a, b] = [light(getComputedStyle(node).color), light(behind(node))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.outerHTML];
    }).filter(([contrast]) => contrast < 4.5);
})()"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with fake_server(tmp_path_factory.mktemp("server")) as (_, found):
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _nothing_went_wrong(browser, address):
    browser.events.clear()
    yield
    assert browser.complaints() == []
    assert browser.asked() <= {address.removeprefix("http://")}


def add_friend(browser, name):
    browser.click("#friend")
    browser.type(name)
    browser.key("Enter")


def title(browser):
    return browser.text("#item-title")


def shown(browser, name):
    browser.until(f"document.querySelector('#item-title').innerText === '{name}'")


def begin(browser, address, *friends, **size):
    browser.open(address, **size)
    for friend in friends:
        add_friend(browser, friend)
    browser.click("#start")
    browser.until("!document.querySelector('#talk').hidden")
    browser.until("document.querySelectorAll('#list li').length === 8")


def first_of_list(browser):
    return browser.text("#list li:first-child")


def test_friends_items_answers_and_a_list_that_follows(browser, address):
    begin(browser, address, "9", "4", "nobody")
    shown(browser, "title 4")
    assert first_of_list(browser) == "title 4"
    assert browser.text("#unknown") == "Nobody here has the id nobody."
    browser.click("#like")
    shown(browser, "title 5")
    browser.until("document.querySelector('#list li').innerText === 'title 5'")
    assert browser.text("#answers") == "yes title 4"
    browser.key("ArrowLeft")
    shown(browser, "title 9")
    assert browser.text("#count") == "1 of 2 liked"
    browser.key("z")
    shown(browser, "title 5")
    assert browser.text("#count") == "1 of 1 liked"


def test_why_without_a_friend_and_not_personal(browser, address):
    begin(browser, address, "9", "4")
    shown(browser, "title 4")
    browser.key("w")
    browser.until("!document.querySelector('#reasons').hidden")
    assert browser.text("#reasons") == "reason for 4 with 2 friends"
    browser.click("#why")
    browser.until("document.querySelector('#reasons').hidden")
    browser.click("#friends button[aria-label='without 4']")
    shown(browser, "title 9")
    browser.click("#impersonal")
    shown(browser, "title 0")
    browser.until("document.querySelector('#list li').innerText === 'title 0'")
    browser.click("#impersonal")
    shown(browser, "title 9")


def test_users_are_suggested_as_one_types(browser, address):
    browser.open(address)
    browser.click("#friend")
    browser.type("1")
    browser.until("document.querySelectorAll('#people option').length === 8")
    assert browser.js("document.querySelector('#people').children[1].value") == "10"


def test_all_is_forgotten_by_a_click(browser, address):
    begin(browser, address, "4")
    browser.click("#forget")
    browser.until("document.querySelector('#talk').hidden")
    assert browser.js("document.activeElement.id") == "start"


def test_keys_do_nothing_while_one_types(browser, address):
    begin(browser, address, "4")
    shown(browser, "title 4")
    browser.click("#friend")
    for key in ("ArrowRight", "z", "w"):
        browser.key(key)
    assert title(browser) == "title 4"
    assert browser.js("document.querySelector('#reasons').hidden")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("page", ["/", "/admin", "/docs"])
def test_pages_fit_are_named_and_can_be_read(
    browser, address, page, width, dark, tmp_path
):
    if page == "/":
        begin(
            browser,
            address,
            "4",
            "a-friend-with-a-very-long-name" * 4,
            width=width,
            dark=dark,
        )
        browser.click("#like")
        browser.until("document.querySelectorAll('#answers li').length === 1")
        browser.click("#why")
        browser.until("!document.querySelector('#reasons').hidden")
    else:
        browser.open(address + page, width=width, dark=dark)
        content = {"/admin": "#state tr", "/docs": "section"}[page]
        browser.until(f"document.querySelector({content!r}) !== null")
    assert browser.js(OUTSIDE) == []
    assert browser.js("document.documentElement.scrollWidth") <= width
    assert browser.js(UNNAMED) == []
    assert browser.js(FAINT) == []
    picture = tmp_path / "page.png"
    browser.screenshot(picture)
    assert picture.stat().st_size > 10_000


def test_the_operators_page_loads_the_model_again(browser, address):
    browser.open(f"{address}/admin")
    browser.until("document.querySelectorAll('#state tr').length > 5")
    assert "fake, fake" in browser.text("#state")
    assert browser.text("#alarm") == "No alarm."
    browser.click("#reload")
    browser.until("document.querySelector('#reloaded').innerText.includes('the same')")


def test_a_page_asks_for_a_key_where_there_must_be_one(browser, tmp_path):
    """And is refused a wrong one in a line that is read out."""
    from dlerse_jax.server.security import new_key

    key, line = new_key("page", "admin")
    (tmp_path / "keys").write_text(line)
    with fake_server(tmp_path, f"{tmp_path / 'keys'}") as (_, found):
        browser.open(f"{found}/admin")
        browser.until("!document.querySelector('#key-form').hidden")
        browser.click("#key")
        browser.type("wrong")
        browser.key("Enter")
        browser.until(
            "document.querySelector('#problem').innerText.includes('not know')"
        )
        browser.click("#key")
        browser.js("document.querySelector('#key').value = ''")
        browser.type(key)
        browser.key("Enter")
        browser.until("document.querySelectorAll('#state tr').length > 5")
        browser.events.clear()  # of refusals, which Chromium logs
