"""As long as the course has no address, nothing claims one; the day it has, pages link to it."""

import pytest
import yaml
from site_files import ROOT

UNKNOWN = 'REPOSITORY = ""'


def settings(address):
    text = (ROOT / "site" / "conf.py").read_text(encoding="utf-8")
    assert text.count(UNKNOWN) == 1, "known now? then CITATION.cff and SECURITY.md name it too"
    namespace = {"__file__": str(ROOT / "site" / "conf.py")}
    exec(text.replace(UNKNOWN, f"REPOSITORY = {address!r}"), namespace)
    return namespace["html_theme_options"]


@pytest.mark.parametrize("address", ["", "https://example.org/course"])
def test_pages_link_to_the_repository_if_there_is_one(address):
    assert settings(address).get("source_repository", "") == address


def test_nothing_names_an_address_that_is_not_known():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert not {"repository-code", "repository", "url", "doi"} & citation.keys()
    security = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "https://" not in security
    assert "mailto:" not in security
