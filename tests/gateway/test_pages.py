"""Pages for people: the API, and what each problem means."""

import re
from pathlib import Path

import pytest

from runtime import errors, gateway
from runtime.gateway.openapi.functions import example
from runtime.gateway.problem_help import EXPLAINED
from runtime.store.registry import Deployed

SOURCE = "\n".join(path.read_text() for path in Path(gateway.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", ["/docs", "/swagger", "/swagger/index.html"])
async def test_the_page_of_the_api_stands_on_nothing_from_elsewhere(http, path):
    page = await http.get(path)
    needed = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)

    assert page.status_code == 200
    assert "'unsafe" not in page.headers["content-security-policy"]
    assert re.findall(r"https?://|<script>|\son\w+=", page.text) == []
    assert len(needed) == 3
    for file in needed:
        for coding in ("gzip", "identity"):
            reply = await http.get(file, headers={"Accept-Encoding": coding})
            assert reply.status_code == 200
            assert reply.headers["content-type"].split(";")[0] in ("text/javascript", "text/css")
            assert len(reply.text) > 100


async def test_no_other_file_is_served(http):
    for name in ("docs.html", "README.md", "..%2f__init__.py"):
        assert (await http.get(f"/docs/{name}")).status_code == 404


async def test_the_type_of_a_problem_leads_to_its_page(http):
    refused = (await http.get("/jobs/none")).json()
    page = await http.get(refused["type"])

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "LANEWORK_KEEP" in page.text
    assert (await http.get("/problems/<script>")).status_code == 404


def test_every_problem_is_explained():
    own = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    bad = set(re.findall(r'(?:BadRequest|problem)\(\s*\d+,\s*"([a-z-]+)"', SOURCE)) | {"http-error"}

    assert (own - {"error"}) | bad == EXPLAINED.keys()


def test_a_schema_that_contains_itself_many_times_has_no_example_rather_than_a_huge_one():
    node = {"type": "object", "properties": {f"n{n}": {"$ref": "#/$defs/node"} for n in range(40)}}
    wide = {"$ref": "#/$defs/node", "$defs": {"node": node}}
    deep = {
        "type": "array",
        "minItems": 200,
        "items": {"type": "array", "minItems": 200, "items": {"type": "null"}},
    }
    usual = {"type": "array", "items": {"type": "string", "minLength": 6}}

    found = [example(Deployed("f", "normal", 60, 1, "", schema, "f")) for schema in (wide, deep, usual)]

    assert found == [None, None, ["textxx"]]
