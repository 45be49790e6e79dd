"""Every rule by which a request is refused, each broken by itself."""

from __future__ import annotations

import socket
import time

import pytest
from starlette.websockets import WebSocketDisconnect

from fxengine.serving.guard import TOKEN_HEADER, Keys, is_private
from fxengine.serving.opened import Opened
from tests.serving.conftest import HERE, PORT, Person, client_of


def test_the_link_works_once_and_becomes_a_cookie(opened: Opened) -> None:
    client, keys = client_of(opened)
    assert client.get("/").status_code == 403
    assert client.get("/?token=wrong").status_code == 403
    entered = client.get(keys.url)
    assert (entered.status_code, 'content="0; url=/"' in entered.text) == (200, True)
    assert keys.page not in entered.text
    cookie = entered.headers["set-cookie"]
    assert cookie.startswith(f"fxengine-{PORT}=")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert client.get("/").status_code == 200
    link = keys.url
    client.cookies.clear()
    assert client.get(link).status_code == 403
    assert client.get("/").status_code == 403


@pytest.mark.parametrize(
    "path",
    ["/", "/static/app.js", "/api/about", "/api/rows", "/api/row/0", "/thumb/0", "/picture/0", "/report/0", "/nowhere"],
)
def test_nothing_is_told_without_the_cookie(opened: Opened, path: str) -> None:
    client, _ = client_of(opened)
    assert client.get(path).status_code == 403
    client.cookies.set(f"fxengine-{PORT}", "x" * 43)
    assert client.get(path).status_code == 403


def test_cookies_of_others_neither_open_nor_shut(opened: Opened) -> None:
    client, keys = client_of(opened)
    name, _, session = client.get(keys.url).headers["set-cookie"].partition(";")[0].partition("=")
    client.cookies.clear()

    def status(cookie: str) -> int:
        return client.get("/api/about", headers={"cookie": cookie}).status_code

    assert status(f"{name}=tossed; {name}={session}; {name}=; other; =; {name}") == 200
    for forged in (f"{name}={session[:-1]}", f"{name}={session}x", f'{name}="{session}"', f"{name}0={session}",
                   f"fxengine-{PORT + 1}={session}", f"{name.upper()}={session}", session, ";" * 9000):  # fmt: skip
        assert status(forged) == 403
    began = time.process_time()
    assert status(f'{name}="' + "\\" * 60_000 + '"') == 403
    assert time.process_time() - began < 5
    assert client.get(keys.url).status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:80", f"127.0.0.1.evil.example:{PORT}", ""]
)
def test_another_host_is_refused(person: Person, host: str) -> None:
    assert person.client.get("/api/about", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}", f"[::1]:{PORT}"])
def test_names_of_this_machine_are_taken(host: str) -> None:
    assert Keys("127.0.0.1", PORT).is_here(host)


def test_what_listens_for_others_is_reached_by_numbers_and_its_own_name() -> None:
    keys = Keys("0.0.0.0", PORT)
    assert keys.is_here(f"192.168.0.7:{PORT}")
    assert keys.is_here(f"{socket.gethostname()}:{PORT}")
    assert not keys.is_here(f"evil.example:{PORT}")
    assert [is_private(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "192.168.0.7")] == [
        True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", f"https://127.0.0.1:{PORT}", f"{HERE}0", f"{HERE}/"]
)
def test_a_post_from_elsewhere_is_refused(person: Person, origin: str | None) -> None:
    headers = person.own() if origin is None else {**person.own(), "origin": origin}
    if origin is None:
        del headers["origin"]
    assert person.client.post("/api/search", json={"plus": [{"row": 1}]}, headers=headers).status_code == 403


@pytest.mark.parametrize("token", [None, "", "wrong", "ü" * 10, "x" * 1000])
def test_a_post_without_the_pages_token_is_refused(person: Person, token: str | None) -> None:
    headers = [("origin", HERE)] + ([] if token is None else [(TOKEN_HEADER, token.encode())])
    answer = person.client.post("/api/search", json={"plus": [{"row": 1}]}, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 403


def test_another_page_on_this_machine_gets_no_picture(person: Person) -> None:
    for site in ("same-site", "cross-site"):
        assert person.client.get("/thumb/0", headers={"sec-fetch-site": site}).status_code == 403
    assert person.client.get("/thumb/0", headers={"sec-fetch-site": "same-origin"}).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(person: Person, method: str) -> None:
    assert person.client.request(method, "/api/about", headers=person.own()).status_code == 405


def test_a_header_that_is_there_twice_is_refused(person: Person) -> None:
    twice = [("origin", HERE), ("origin", "http://evil.example"), (TOKEN_HEADER, person.keys.page)]
    assert person.client.post("/api/search", json={}, headers=twice).status_code == 400


def test_no_websocket_is_opened(person: Person) -> None:
    with pytest.raises(WebSocketDisconnect) as closed, person.client.websocket_connect("/api/about"):
        pass
    assert closed.value.code == 1008


@pytest.mark.parametrize("path", ["/", "/api/about", "/thumb/0", "/nowhere", "/?token=wrong"])
def test_every_answer_says_what_a_browser_may_do_with_it(opened: Opened, person: Person, path: str) -> None:
    strangers, _ = client_of(opened)
    for client in (person.client, strangers):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert not any(name.startswith("access-control") for name in headers)


def test_the_page_holds_the_token_and_nothing_inline(person: Person) -> None:
    page = person.client.get("/").text
    assert f'content="{person.keys.page}"' in page
    assert "<style" not in page
    assert page.count("<script") == page.count('src="/static/app.js"') == 1
    assert " style=" not in page
    assert " onclick" not in page


def test_a_report_may_run_nothing(person: Person) -> None:
    answer = person.client.get("/report/0")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "sandbox;" in policy
    assert person.client.get("/report/1").status_code == 404
