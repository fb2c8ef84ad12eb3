"""The strategies split, direct, block and auto: what reaches the target, and what the wire of
the client shows."""
import json
import os
import re
import socket
import time

from alone_kit import (BARRED, CENSORED, CLOSED, HOST, MOVING, MUTE, OWN, PRIVATE, SITE, SITE6, TOP,
                       TTL, ZONE, Daemon, Lan, Wire, client, command, curl, digest, http, internet,
                       relay, resolve, socks5)
from pt_kit import connect, exactly, read_reply, request, run, test, to_end, until
from pt_peers import Listener
from pt_peers import relay as pass_on

RULES = {"rules": [{"strategy": "split", "hosts": [HOST, SITE, "*.example"], "ports": [443]},
                   {"strategy": "direct", "hosts": ["v4.target.*"], "ports": [8443]},
                   {"strategy": "block", "networks": ["198.51.100.0/24"]},
                   {"strategy": "block", "hosts": ["*.ads.example"], "ports": ["8000-8999"]}]}


def rep_of(port, host, to):
    """The SOCKS reply to a request; then the connection is closed, without more bytes."""
    s = connect(port)
    s.sendall(b"\5\1\0")
    assert exactly(s, 2) == b"\5\0"
    s.sendall(request((host, to)))
    rep = read_reply(s)
    if rep:
        assert to_end(s) == b"", "bytes behind a refusal"
    s.close()
    return rep


def status_of(port, host, to):
    """The same of CONNECT."""
    s = connect(port)
    host = f"[{host}]" if ":" in host else host
    s.sendall(f"CONNECT {host}:{to} HTTP/1.1\r\nHost: {host}:{to}\r\n\r\n".encode())
    said = b""
    while b"\r\n\r\n" not in said:
        said += exactly(s, 1)
    s.close()
    return int(re.match(rb"HTTP/1\.1 (\d+) ", said)[1])


def records(data):
    found, at = [], 0
    while at + 5 <= len(data):
        length = int.from_bytes(data[at + 3:at + 5], "big")
        found.append((data[at], data[at + 5:at + 5 + length]))
        at += 5 + length
    return found


def hellos_of(data):
    """The ClientHellos in what a client says, each as the bodies of its records."""
    found, pieces = [], []
    for kind, body in records(data):
        pieces = [*pieces, body] if kind == 22 else []
        if is_hello(b"".join(pieces)):
            found.append(pieces)
            pieces = []
    return found


def is_hello(message):
    return message[:1] == b"\1" and len(message) == 4 + int.from_bytes(message[1:4], "big")


def cut(wire, name, addresses=(SITE, SITE6)):
    """Checks the connections to those addresses: hellos for that name, cut. Their number."""
    name = name.encode()
    for s in wire.tcp:
        # A TLS 1.2 server shows its certificate: that is not ours to hide.
        assert s.to[0] not in addresses or name not in s.payload, "the name is whole in a segment"
    hellos = 0
    for (_, to), data in wire.streams().items():
        if to[0] not in addresses or not data:
            continue
        found = hellos_of(data)
        assert found, "no hello"
        for pieces in found:
            assert name in b"".join(pieces), "no hello for that name"
            assert len(pieces) > 1, "one record"
            assert not [x for x in pieces if name in x], "the name is whole in a record"
        hellos += len(found)
    return hellos


@test("split", "never whole in a record or a segment; straight to the target; curl, HTTP/1.1 and 2")
def split(t):
    net = internet(t)
    r = relay(t)
    lan = Lan(t)
    with lan.inside():
        c = client(t, r, config=RULES)
        wire = Wire(t, "far")
        n = 0
        for proxy in (socks5(c), http(c), http(c, c.mixed)):
            for version in ("--http1.1", "--http2"):
                for tls in (("--tls-max", "1.2"), ("--tlsv1.3",)):
                    data = curl(proxy, version, *tls, f"https://{HOST}/f90?split")
                    assert digest(data) == net.files["f90"]
                    n += 1
                    if n == 1:
                        r.kill()  # it was asked for the addresses: the client remembers them
    wire.stop()
    assert cut(wire, HOST) == n
    assert not wire.past(lan, OWN, SITE, SITE6), wire.past(lan, OWN, SITE, SITE6)[:5]
    seen = net.log("?split")
    assert len(seen) == n and not [x for x in seen if x.startswith(net.lan.near)], seen


@test("split", "a name is asked for again once its time to live is over, and not before")
def split_ttl(t):
    net = internet(t)
    r = relay(t)
    lan = Lan(t)
    with lan.inside():
        c = client(t, r, config={"default": "split"})
        start = time.monotonic()
        for _ in range(5):
            assert curl(socks5(c), f"https://{MOVING}/index.html") == b"the site\n"
        # Two families, each time that what was known had become too old.
        times = 1 + int((time.monotonic() - start) / TTL[MOVING])
        assert 2 <= net.dns.asked.count(MOVING) <= 2 * times, (net.dns.asked.count(MOVING), times)
        ZONE[MOVING] = [BARRED]
        wire = Wire(t, "far")
        until(lambda: curl(socks5(c), f"https://{MOVING}/index.html") == b"the site\n" and
              BARRED in {s.to[0] for s in wire.tcp}, "a connection to the new address")


@test("split", "the second hello that a HelloRetryRequest asks for is cut like the first")
def split_retry(t):
    net = internet(t)
    r = relay(t)
    with net.lan.inside():
        server = Daemon(t, "s_server", ["openssl", "s_server", "-accept", SITE + ":4433", "-www",
                                        "-groups", "P-384", "-cert", TOP + "/site.crt",
                                        "-key", TOP + "/site.key"], status=None)
        server.line("^ACCEPT")
    lan = Lan(t)
    with lan.inside():
        c = client(t, r, config={"default": "split"})
        wire = Wire(t, "far")
        for proxy in (socks5(c), http(c)):
            for tls in ("--tlsv1.3", "--tlsv1.2"):
                said = curl(proxy, tls, "--curves", "X25519:P-384", f"https://{HOST}:4433/")
                assert b"TLSv1.3" in said, said
        said = command("openssl", "s_client", "-proxy", f"127.0.0.1:{c.http}", "-groups",
                       "X25519:P-384", "-connect", HOST + ":4433", "-servername", HOST,
                       "-CAfile", TOP + "/site.crt", "-verify_return_error",
                       text=b"GET / HTTP/1.0\r\n\r\n")
        assert b"Server Temp Key: ECDH, secp384r1" in said, said
    wire.stop()
    assert cut(wire, HOST) == 2 * 5


@test("split", "without a name; what is no TLS; answers to what cannot be reached or is denied")
def split_others(t):
    internet(t)
    r = relay(t)
    lan = Lan(t)
    rules = {"default": "split"}
    with lan.inside():
        c = client(t, r, config=rules)
        wire = Wire(t, "far")
        for host in (SITE, f"[{SITE6}]"):
            assert curl(socks5(c), "-k", f"https://{host}/index.html") == b"the site\n"
            assert curl(http(c), f"http://{host}/index.html") == b"the site\n"
        for host, to, rep, status in ((CLOSED, 443, 5, 502), ("closed.example", 443, 5, 502),
                                      ("nothing.example", 443, 4, 502),
                                      ("private.example", 443, 2, 403),
                                      ("loop.example", 443, 2, 403),
                                      ("mapped.example", 443, 2, 403)):
            got = rep_of(c.socks, host, to), status_of(c.http, host, to)
            assert got == (rep, status), (host, got)
        wire.stop()
    assert PRIVATE not in {s.to[0] for s in wire.tcp}


@test("split", "a relay cannot lead the client into its own network; the app itself may go there")
def split_led(t):
    internet(t)
    # To the client, one that allows such targets is a hostile one.
    r = relay(t, allow=[{"networks": ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"]}])
    lan = Lan(t)
    with lan.inside():
        c = client(t, r, config={"default": "split"})
        wire, loopback = Wire(t, "far"), Wire(t, "lo")
        for host in ("private.example", "loop.example", "mapped.example", "unique.example",
                     "nat64.example"):
            got = rep_of(c.socks, host, 443), status_of(c.http, host, 443)
            assert got == (2, 403), (host, got)
            assert not resolve(r, host, status=1), host
        # Of several addresses the others serve.
        assert curl(socks5(c), "https://mixed.example/index.html") == b"the site\n"
        for w in (wire, loopback):
            w.stop()
            assert PRIVATE not in {s.to[0] for s in w.tcp}
        assert not [s for s in loopback.tcp if s.to[1] == 443 or s.source[1] == 443]
        assert curl(http(c), f"http://{PRIVATE}/index.html") == b"the site\n"


@test("direct", "the name goes whole and straight; nothing of it to the relay")
def direct(t):
    net = internet(t)
    r = relay(t, allow=[{}, {"ports": [8443]}])
    lan = Lan(t)
    with lan.inside():
        c = client(t, r, config=RULES)
        wire = Wire(t, "far")
        for proxy in (socks5(c), http(c)):
            data = curl(proxy, "https://v4.target.example:8443/f70?direct")
            assert digest(data) == net.files["f70"]
    wire.stop()
    straight = [d for (_, to), d in wire.streams().items() if to == (SITE, 8443) and d]
    assert len(straight) == 2 and all(b"v4.target.example" in d for d in straight)
    assert all(x.split()[0] == lan.far for x in net.log("?direct"))
    assert not wire.past(lan, OWN, SITE), wire.past(lan, OWN, SITE)[:5]


@test("block", "refused at once, by SOCKS and by HTTP; nothing goes out")
def block(t):
    internet(t)
    r = relay(t)
    lan = Lan(t)
    with lan.inside():
        c = client(t, r, config=RULES)
        wire = Wire(t, "far")
        for host, port in ((SITE, 80), (CLOSED, 443), ("x.ads.example", 8080)):
            assert rep_of(c.socks, host, port) == 2, host
            assert status_of(c.http, host, port) == 403, host
            assert curl(http(c), "-o", "/dev/null", "-w", "%{http_code}",
                        f"http://{host}:{port}/") == b"403", host
        wire.stop()
        assert not wire.tcp and not wire.other, "something went out"
        # The first rule that fits counts, and what fits none is concealed.
        assert curl(socks5(c), "-k", f"https://{SITE}/index.html") == b"the site\n"
        assert curl(socks5(c), f"http://{HOST}/index.html") == b"the site\n"


def remembered(folder):
    with open(os.path.join(folder, "strategies.json"), encoding="ascii") as f:
        return json.load(f)["sites"]


@test("auto", "conceal first; where the bridge cannot go, split; remembered, and forgotten in time")
def auto(t):
    internet(t)
    r = relay(t)
    state = os.path.join(t.dir, "state")
    os.mkdir(state)
    lan = Lan(t)

    def client_with(first="conceal"):
        return client(t, r, "--state", state, config={"default": "auto", "auto_first": first})
    with lan.inside():
        c = client_with()
        wire = Wire(t, "far")
        # A name that works concealed is never shown, nor is what a page can ask for below it:
        # what does not exist, is not allowed, or is closed.
        assert curl(socks5(c), f"https://{HOST}/index.html") == b"the site\n"
        for url in ("https://nosuch.target.example", f"https://{HOST}:81", "https://closed.example",
                    "http://closed.example", f"https://{SITE}:81"):
            curl(socks5(c), url, status=None)
        for url in (f"https://{HOST}", "https://other.example", f"http://{HOST}"):
            assert curl(socks5(c), url + "/index.html") == b"the site\n"
        assert curl(http(c), f"http://{HOST}/index.html") == b"the site\n"
        assert not wire.past(lan, OWN), wire.past(lan, OWN)[:5]
        assert rep_of(client_with().socks, "www.barred.example", 443) == 3, "cold"
        assert not os.path.exists(state + "/strategies.json") or not remembered(state)
        curl(socks5(c), "https://www.barred.example/f1", status=None)
        # Only that port of that host is known by now: its neighbours are not shown for it.
        curl(socks5(c), "https://img.barred.example/f1", status=None)
        assert BARRED not in {s.to[0] for s in wire.tcp}
        assert curl(http(c), "https://www.barred.example/index.html") == b"the site\n"
        wire.stop()
        assert cut(wire, "www.barred.example", (BARRED,)) == 1
        c.close()
        img, site = sorted(remembered(state), key=lambda x: x["host"])
        until_then = site.pop("until")
        assert time.time() < until_then <= time.time() + 3600
        assert site == {"host": "www.barred.example", "port": 443, "strategy": "split"}, site
        assert img["host"] == "img.barred.example", img

        c = client_with()
        assert rep_of(c.socks, "www.barred.example", 443) == 0, "not remembered"
        c.close()
        site["until"] = 1000
        with open(state + "/strategies.json", "w", encoding="ascii") as f:
            json.dump({"sites": [site]}, f)
        c = client_with()
        assert rep_of(c.socks, "www.barred.example", 443) == 3, "not forgotten"
        c.close()
        with open(state + "/strategies.json", "w", encoding="ascii") as f:
            f.write('{"sites": [{"domain": ')
        c = client_with()
        c.line("what auto had learnt")
        assert curl(socks5(c), f"https://{HOST}/index.html") == b"the site\n"


@test("auto", "split first: what is reset, refused or silent on the way goes through the bridge")
def auto_split(t):
    net = internet(t)
    r = relay(t)
    lan = Lan(t)
    relays = net.lan.near

    # A censor that swallows what comes from anybody else.
    def mute(s, peer):
        if peer[0] == relays:
            pass_on(s, socket.create_connection((SITE, 443)))
        else:
            to_end(s)
    with net.lan.inside():
        Listener(t, mute, MUTE, 443)
    run("ip", "rule", "add", "iif", lan.device, "to", CENSORED, "unreachable")
    with lan.inside():
        c = client(t, r, config={"default": "auto", "auto_first": "split"})
        for host in ("censored.example", "mute.example"):
            curl(socks5(c), f"https://{host}/index.html", status=None)
            assert curl(socks5(c), f"https://{host}/index.html") == b"the site\n", host
        # What works straight stays so.
        wire = Wire(t, "far")
        for _ in range(2):
            assert curl(socks5(c), f"https://{HOST}/index.html") == b"the site\n"
        wire.stop()
        assert cut(wire, HOST) == 2
