"""Who may request pages: hosts, origins, tokens, and the headers for browsers."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
import uvicorn
from starlette.testclient import TestClient

from pipelines.__main__ import main
from stepmark.errors import ConfigError, DatasetError
from storage.dataset.dataset import Dataset
from storage.queries.trace_summary import SummaryReader
from viewer import server
from viewer.access import Access
from viewer.app import create_app

HOST = "127.0.0.1:8765"
WAIT_SECONDS = 120


def client_of(dataset: Dataset, access: Access) -> TestClient:
    return TestClient(create_app(dataset, access), base_url=f"http://{HOST}")


@pytest.fixture
def local(mixed: Dataset) -> TestClient:
    return client_of(mixed, Access(hosts=[HOST, "localhost:8765"]))


@pytest.fixture
def guarded(mixed: Dataset) -> TestClient:
    return client_of(mixed, Access(token="s3cret"))


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.test"},
        {"Host": "127.0.0.1:1"},
        {"Host": ""},
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
        {"Origin": f"https://{HOST}"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "script"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"},
    ],
)
def test_requests_of_other_sites_are_refused(local: TestClient, headers: dict[str, str]) -> None:
    for path in ("/", "/traces", "/static/page.js"):
        assert local.get(path, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost:8765"},
        {"Origin": f"http://{HOST}"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"},
        # A link on another site.
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"},
    ],
)
def test_requests_of_this_site_are_answered(local: TestClient, headers: dict[str, str]) -> None:
    assert local.get("/traces", headers=headers).status_code == 200


def test_changes_need_the_origin(local: TestClient) -> None:
    assert local.post("/traces").status_code == 403
    assert local.post("/traces", headers={"Origin": f"http://{HOST}"}).status_code == 405


def test_pages_need_the_token(guarded: TestClient) -> None:
    for address in ("/", "/traces", "/static/page.js", "/?token=", "/?token=wrong", "/?token=é"):
        assert guarded.get(address).status_code == 403
    assert guarded.get("/", headers={"Cookie": "stepmark_view_8765=wrong"}).status_code == 403


def test_token_becomes_a_cookie(guarded: TestClient) -> None:
    answer = guarded.get(f"http://{HOST}//traces?token=s3cret&sort=long", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/traces?sort=long"
    assert "HttpOnly" in answer.headers["set-cookie"]
    # With "strict" a link on another site would be refused.
    assert "samesite=lax" in answer.headers["set-cookie"].lower()
    assert guarded.get("/traces").status_code == 200


def test_redirect_keeps_the_path(guarded: TestClient) -> None:
    address = f"http://{HOST}/traces/a%3Fb%23%5C..%0d%0a?token=s3cret"
    answer = guarded.get(address, follow_redirects=False)
    assert answer.headers["location"] == "/traces/a%3Fb%23%5C..%0D%0A"


def test_two_ports_have_two_cookies(mixed: Dataset) -> None:
    cookies = list[str]()
    clients = list[TestClient]()
    for port in (8765, 8766):
        app = create_app(mixed, Access(token=f"token-{port}"))
        client = TestClient(app, base_url=f"http://127.0.0.1:{port}")
        answer = client.get(f"/traces?token=token-{port}", follow_redirects=False)
        cookies.append(answer.headers["set-cookie"].partition(";")[0])
        clients.append(TestClient(app, base_url=f"http://127.0.0.1:{port}"))
    # A browser sends the cookies of a host to all of its ports.
    for client in clients:
        answer = client.get("/traces", headers={"Cookie": "; ".join(cookies)})
        assert answer.status_code == 200
    names = {cookie.partition("=")[0] for cookie in cookies}
    assert len(names) == 2


@pytest.mark.parametrize("path", ["/", "/traces", "/nope", "/static/style.css"])
def test_every_answer_has_a_policy(local: TestClient, path: str) -> None:
    headers = local.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_refusals_have_a_policy(local: TestClient) -> None:
    answer = local.get("/", headers={"Host": "evil.test"})
    assert answer.headers["content-security-policy"]
    assert "evil" not in answer.text


@pytest.mark.parametrize(
    ("host", "has_token"),
    [
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("localhost", False),
        ("::1", False),
        ("0.0.0.0", True),
        ("::", True),
    ],
)
def test_other_machines_need_a_token(
    mixed: Dataset, monkeypatch: pytest.MonkeyPatch, host: str, has_token: bool
) -> None:
    addresses = list[str]()
    apps = list[object]()

    def run(self: object, sockets: object) -> None:
        apps.append(self.config.app)  # type: ignore[attr-defined]

    monkeypatch.setattr("uvicorn.Server.run", run)
    server.serve(mixed, host, 0, announce=addresses.append, browse=False)
    (address,) = addresses
    assert ("?token=" in address) == has_token
    (app,) = apps
    url = httpx.URL(address)
    client = TestClient(app, base_url=f"http://{url.netloc.decode()}")  # type: ignore[arg-type]
    assert client.get("/traces").status_code == (403 if has_token else 200)
    assert client.get(str(url)).status_code == 200
    stranger = client.get("/", headers={"Host": f"evil.test:{url.port}"})
    # The cookie belongs to the host that set it, so a browser would not send it there.
    assert stranger.status_code == (200 if has_token else 403)


def test_browsers_leave_port_80_out(mixed: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    class Listener(socket.socket):
        def getsockname(self) -> tuple[str, int]:
            return "127.0.0.1", 80

    apps = list[object]()

    def run(self: object, sockets: object) -> None:
        apps.append(self.config.app)  # type: ignore[attr-defined]

    monkeypatch.setattr("uvicorn.Server.run", run)
    # Only root may bind the port.
    monkeypatch.setattr(server, "_bind", lambda host, port: Listener())
    server.serve(mixed, "127.0.0.1", 80, announce=print, browse=False)
    (app,) = apps
    client = TestClient(app, base_url="http://localhost")  # type: ignore[arg-type]
    assert client.get("/traces").status_code == 200
    assert client.get("/traces", headers={"Host": "evil.test"}).status_code == 403


def test_busy_port_is_an_error(mixed: Dataset) -> None:
    listener = server._bind("127.0.0.1", 0)
    with listener, pytest.raises(ConfigError, match="choose others with --host and --port"):
        server.serve(mixed, "127.0.0.1", listener.getsockname()[1], announce=print, browse=False)


@pytest.mark.parametrize("host", ["no such host", "999.1.1.1", "x" * 300])
def test_unknown_host_is_an_error(mixed: Dataset, host: str) -> None:
    with pytest.raises(ConfigError, match="cannot serve at"):
        server.serve(mixed, host, 0, announce=print, browse=False)


def test_missing_dataset_is_an_error() -> None:
    with pytest.raises(DatasetError, match="no dataset at"):
        server.serve(Dataset("/nowhere"), "127.0.0.1", 0, announce=print, browse=False)


def test_traces_are_read_before_requests(mixed: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    has_read = threading.Event()
    monkeypatch.setattr(SummaryReader, "read", lambda reader: has_read.set())
    # The start of a server, without a request.
    with TestClient(create_app(mixed, Access())):
        assert has_read.wait(60)


def test_pages_show_no_password() -> None:
    app = create_app(Dataset("memory://me:password@host/data"), Access(hosts=[HOST]))
    client = TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False)
    answer = client.get("/")
    assert answer.status_code == 500
    assert "no dataset at memory://REDACTED@host/data" in answer.text
    assert "password" not in answer.text


def test_signal_ends_the_reading(mixed: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    apps = list[object]()

    def run(self: uvicorn.Server, sockets: object) -> None:
        self.handle_exit(signal.SIGINT, None)
        assert self.should_exit
        apps.append(self.config.app)

    monkeypatch.setattr("uvicorn.Server.run", run)
    addresses = list[str]()
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            server.serve(mixed, "127.0.0.1", 0, announce=addresses.append, browse=False)
    finally:
        signal.signal(signal.SIGINT, before)
    answer = TestClient(apps[0], base_url=addresses[0]).get("/")  # type: ignore[arg-type]
    assert answer.status_code == 500
    assert "the reader was stopped" in answer.text


@pytest.mark.parametrize("pause_seconds", [0.0, 0.05, 0.2])
def test_second_interrupt_prints_no_traceback(mixed: Dataset, pause_seconds: float) -> None:
    options = ["--dataset", mixed.uri, "--port", "0", "--no-browser"]
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines", "view", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "Ctrl-C ends it" in process.stdout.readline()
        # Whichever part of its end the process is in.
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(pause_seconds)
        assert process.communicate(timeout=WAIT_SECONDS)[1] == ""
    # At its very end, Python has removed its handlers.
    assert process.returncode in (128 + signal.SIGINT, -signal.SIGINT)


def test_command_announces_its_address(
    mixed: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.cli.environment_guard.check_names", lambda: None)
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    options = ["--dataset", mixed.uri, "--port", "0", "--no-browser"]
    monkeypatch.setattr(sys, "argv", ["stepmark", "view", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/  \(Ctrl-C ends it\)\n", capsys.readouterr().out)
    monkeypatch.setattr(sys, "argv", ["stepmark", "view", "--dataset", "/nowhere"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("stepmark: no dataset at /nowhere")
