"""A real browser without a screen, for the pages that we write; tests that need it are skipped where there is none."""

import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_DRIVER = shutil.which("chromedriver")
needed = pytest.mark.skipif(
    not (_CHROMIUM and _DRIVER),
    reason="no chromium and chromedriver (Debian: apt-get install chromium chromium-driver)",
)
PATIENCE_S = 60


class Page:
    """A page in the browser, by what a user does with it."""

    def __init__(self, address):
        options = webdriver.ChromeOptions()
        options.binary_location = _CHROMIUM
        for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1240,1000"):
            options.add_argument(word)
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(_DRIVER))
        self.driver.get(address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def wait(self, condition):
        return WebDriverWait(self.driver, PATIENCE_S).until(lambda _: condition())

    def point_at(self, element):
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        ActionChains(self.driver).move_to_element(element).perform()

    def drag(self, element, x, y):
        self.point_at(element)
        ActionChains(self.driver).click_and_hold().move_by_offset(x, y).release().perform()

    def complaints(self):
        """What the browser refused or did not understand."""
        return [one for one in self.driver.get_log("browser") if "favicon" not in one["message"]]
