"""What a relay allows: its access list, its users, their quotas."""
import json
import os
import re
import signal
import socket
import ssl
import threading
import time

import oob_client
from alone_kit import (HOST, OWN, OWN6, PRIVATE, REBIND, SITE, SITE6, UNREACHABLE, client,
                       curl, digest, http, internet, relay, resolve, socks5, write)
from alone_strategies import rep_of, status_of
from pt_kit import SLOW, connect, exactly, read_reply, request, test, until
from specclient import clock, unb64, unpack

DENIED = (2, 403)


def answers(t, r, cases):
    """Each case is (host, port, (SOCKS reply, HTTP status)); each question to a client that is
    cold, since a warm one has promised success before it knows. Many at a time: some wait."""
    wrong = []

    def ask(case):
        host, port, expected = case
        got = (rep_of(client(t, r).socks, host, port), status_of(client(t, r).http, host, port))
        if got != expected:
            wrong.append(f"{host}:{port}: {got}, not {expected}")
    threads = [threading.Thread(target=ask, args=(case,)) for case in cases]
    for x in threads:
        x.start()
    for x in threads:
        x.join()
    assert not wrong, "; ".join(wrong)


@test("access", "by default: public addresses, ports 443 and 80; the answers for all else")
def default_list(t):
    internet(t)
    r = relay(t)
    answers(t, r, [
        (HOST, 443, (0, 200)), (HOST, 80, (0, 200)), (SITE, 443, (0, 200)), (SITE6, 80, (0, 200)),
        ("mixed.example", 443, (0, 200)), ("v6.target.example", 443, (0, 200)),
        (HOST, 8443, DENIED), (SITE, 22, DENIED), (PRIVATE, 443, DENIED),
        ("127.0.0.1", 443, DENIED), ("169.254.1.1", 80, DENIED),
        ("100.64.0.1", 80, DENIED), ("224.0.0.1", 80, DENIED),
        ("0.0.0.0", 80, DENIED), ("::1", 80, DENIED), ("fd99::10", 80, DENIED),
        ("::ffff:" + PRIVATE, 443, DENIED), ("64:ff9b::" + PRIVATE, 443, DENIED),
        (OWN, 443, DENIED), (OWN6, 80, DENIED), ("own.example", 443, DENIED),
        ("private.example", 443, DENIED), ("loop.example", 80, DENIED),
        ("mapped.example", 443, DENIED), ("nat64.example", 443, DENIED),
        ("unique.example", 443, DENIED),
        ("closed.example", 443, (5, 502)), ("nothing.example", 443, (4, 502)),
        ("silent.example", 443, (4, 502)), ("unreachable.example", 443, (4, 502)),
        (UNREACHABLE, 443, (4, 502)), ("noroute.example", 443, (3, 502)),
        ("lost.example", 443, (6, 504))])


@test("access", "a name that changes its address between two looks: what was checked is dialled")
def rebind(t):
    net = internet(t)
    c = client(t, relay(t))
    said = [curl(http(c), f"http://{REBIND}/index.html?rebind", status=None) for _ in range(12)]
    assert said.count(b"the site\n") >= 3, said
    assert len(said) - said.count(b"the site\n") >= 3, said
    seen = [x.split()[1] for x in net.log("?rebind")]
    assert set(seen) == {SITE}, seen


@test("access", "a list: hosts, ports, ranges and private networks, as far as it goes")
def own_list(t):
    net = internet(t)
    r = relay(t, allow=[{"hosts": ["*.target.example"], "ports": ["8000-8443"]},
                        {"networks": [PRIVATE + "/32"], "hosts": ["private.example", PRIVATE]}])
    answers(t, r, [
        (HOST, 8443, (0, 200)), ("private.example", 443, (0, 200)), (PRIVATE, 80, (0, 200)),
        (HOST, 443, DENIED), ("other.example", 8443, DENIED), (SITE, 8443, DENIED),
        ("mixed.example", 443, DENIED), ("private.example", 8443, DENIED)])
    c = client(t, r)
    assert curl(socks5(c), "-k", "https://private.example/index.html?list") == b"the site\n"
    assert net.log("?list")


@test("access", "warm: a refusal ends the app's connection; the client and others go on")
def warm(t):
    internet(t)
    c = client(t, relay(t))
    for _ in range(3):
        assert curl(socks5(c), f"https://{HOST}/index.html") == b"the site\n"
        for host in (PRIVATE, "nothing.example", "closed.example"):
            curl(socks5(c), f"https://{host}/", status=35)


# ---- users ----

def user(name, **limits):
    return {"name": name, "token": f"token-of-{name}-{name}", **limits}


def token(name):
    return f"token-of-{name}-{name}"


def relay_of(t, users, **config):
    return relay(t, users=write(t, f"users-{len(t.programs)}.json", {"users": users}), **config)


def slow_download(c, n=1):
    """n connections that have received something and wait in the middle of a download."""
    found = []
    for _ in range(n):
        s = connect(c.socks)
        s.sendall(b"\5\1\0")
        assert exactly(s, 2) == b"\5\0"
        s.sendall(request((HOST, 80)))
        assert read_reply(s) == 0
        s.sendall(f"GET /big HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        exactly(s, 100_000)
        found.append(s)
    return found


def ended(s):
    try:
        while s.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


@test("users", "a right token, a wrong one, none; for sessions and for --resolve")
def tokens(t):
    internet(t)
    r = relay_of(t, [user("anna"), user("berta")])
    for name in ("anna", "berta"):
        c = client(t, r, "--token", token(name))
        assert curl(socks5(c), f"https://{HOST}/index.html") == b"the site\n"
    for flags in (("--token", token("carla")), ("--token", token("anna") + "x"), ()):
        c = client(t, r, *flags)
        assert rep_of(c.socks, HOST, 443) == 1
        assert status_of(client(t, r, *flags).http, HOST, 443) == 502
        assert not resolve(r, HOST, *flags, status=1)
    said = resolve(r, HOST, "--token", token("anna"))
    assert SITE in said
    # A token where nobody asks for one does no harm.
    c = client(t, relay(t), "--token", token("anna"))
    assert curl(socks5(c), f"https://{HOST}/index.html") == b"the site\n"


@test("users", "SIGHUP: who is gone loses the sessions, others keep theirs; a bad file is ignored")
def revoke(t):
    internet(t)
    r = relay_of(t, [user("anna"), user("berta")])
    path = json.load(open(t.dir + "/relay-0.json", encoding="ascii"))["users"]
    anna, berta = (client(t, r, "--token", token(name)) for name in ("anna", "berta"))
    hers, others = slow_download(anna, 3), slow_download(berta, 1)
    with open(path, "w", encoding="ascii") as f:
        f.write('{"users": [{"name": "berta"}]}')
    os.kill(r.pid, signal.SIGHUP)
    r.line("the users stay as they were: .*users.*json.*token")
    assert curl(socks5(anna), f"https://{HOST}/index.html") == b"the site\n"
    with open(path, "w", encoding="ascii") as f:
        json.dump({"users": [user("berta"), user("carla")]}, f)
    os.kill(r.pid, signal.SIGHUP)
    r.line("the users file was read again")
    for s in hers:
        assert ended(s)
    assert rep_of(client(t, r, "--token", token("anna")).socks, HOST, 443) == 1
    curl(socks5(anna), f"https://{HOST}/index.html", status=35)
    assert rep_of(client(t, r, "--token", token("carla")).socks, HOST, 443) == 0
    exactly(others[0], 7_900_000)
    assert curl(socks5(berta), f"https://{HOST}/index.html") == b"the site\n"


def client_hello():
    out = ssl.MemoryBIO()
    try:
        ssl._create_unverified_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname=HOST).do_handshake()
    except ssl.SSLWantReadError:
        return out.read()


@test("users", "SIGHUP while an open waits for what the target says: the target is left, the open refused")
def revoke_an_open(t):
    internet(t)
    target = socket.create_server(("127.0.0.1", 0))
    t.callback(target.close)
    port = target.getsockname()[1]
    r = relay_of(t, [user("anna")], allow=[{"ports": [port], "networks": ["127.0.0.1/32"]}])
    bridge = oob_client.Bridge((r.host, r.port), unb64(re.search(r"key=(\S+)", r.args)[1]))
    shake, body = bridge.message({"op": "open", "time": clock(), "up": 0, "token": token("anna"),
                                  "target": {"host": "127.0.0.1", "port": port}}, client_hello())
    web = oob_client.Web(bridge.address)
    web.send(oob_client.request("POST", bridge.base, body))
    with target.accept()[0] as far:
        assert far.recv(1) == b"\x16"
        path = json.load(open(t.dir + "/relay-0.json", encoding="ascii"))["users"]
        with open(path, "w", encoding="ascii") as f:
            json.dump({"users": [{"name": "berta", "token": token("anna")}]}, f)
        os.kill(r.pid, signal.SIGHUP)
        reply = oob_client.ok(web.reply())
        said, data = unpack(shake.read(unb64(reply["noise"])))
        assert (said["error"]["code"], data) == ("unauthorized", b""), said
        far.settimeout(15)  # what is left of the session goes later, after 30 s
        assert ended(far)
    time.sleep(6)  # an open is answered by then, whatever the target says
    assert oob_client.ok(web.ask("POST", bridge.base, body)) == reply
    web.close()


@test("users", "quotas: sessions at a time")
def sessions(t):
    internet(t)
    r = relay_of(t, [user("anna", sessions=3), user("berta")], quotas={"sessions": 1})
    anna, berta = (client(t, r, "--token", token(name)) for name in ("anna", "berta"))
    hers, others = slow_download(anna, 3), slow_download(berta, 1)
    for name in ("anna", "berta"):
        assert rep_of(client(t, r, "--token", token(name)).socks, HOST, 443) == 1, name
    hers.pop().close()

    def free():
        return rep_of(client(t, r, "--token", token("anna")).socks, HOST, 443) == 0
    until(free, "a session is free again")
    exactly(others[0], 7_900_000)


@test("users", "quotas: bytes a day, both ways, kept over SIGHUP")
def bytes_per_day(t):
    internet(t)
    r = relay_of(t, [user("anna", bytes_per_day=1_000_000), user("berta")])
    c = client(t, r, "--token", token("anna"))
    data = curl(socks5(c), "-k", f"https://{HOST}/f99")
    assert len(data) == 177923
    start = time.monotonic()
    got = curl(socks5(c), f"https://{HOST}/big", status=None, seconds=60)
    assert time.monotonic() - start < 20, "the app does not hear that it is over"
    assert 700_000 < len(got) < 1_000_000 - 177923, len(got)
    for _ in range(2):
        assert rep_of(client(t, r, "--token", token("anna")).socks, HOST, 443) == 1
        os.kill(r.pid, signal.SIGHUP)
        r.line("the users file was read again")
    c = client(t, r, "--token", token("berta"))
    assert len(curl(socks5(c), f"https://{HOST}/big")) == 8_000_000


@test("users", "quotas: a rate of 1 MB/s holds, for one connection and for four together")
def rate(t):
    net = internet(t)
    r = relay(t, quotas={"bytes_per_second": 1_000_000})
    c = client(t, r)
    for n in (1, 4):
        size = 6_000_000 // n
        start, got = time.monotonic(), []

        def download():
            got.append(curl(http(c), "-r", f"0-{size - 1}", f"http://{HOST}/big"))
        threads = [threading.Thread(target=download) for _ in range(n)]
        for x in threads:
            x.start()
        for x in threads:
            x.join()
        assert [len(x) for x in got] == [size] * n
        speed = 6_000_000 / (time.monotonic() - start)
        # A busy machine may be slower; a relay may not be faster.
        assert 700_000 / SLOW / 2 < speed < 1_300_000, f"{n}: {speed:.0f} bytes a second"
    path = os.path.join(t.dir, "up")
    with open(path, "wb") as f:
        f.write(os.urandom(4_000_000))
    start = time.monotonic()
    curl(http(c), "-f", "-T", path, f"http://{HOST}/up-rate-{os.getpid()}", "-o", "/dev/null")
    speed = 4_000_000 / (time.monotonic() - start)
    assert speed < 1_400_000, f"up: {speed:.0f} bytes a second"
    assert digest(curl(socks5(c), f"https://{HOST}/index.html")) == net.files["index.html"]
