#!/usr/bin/env python3
"""A real sultry-server against clients that break the rules. Run by server.sh:

    server.py BUILD NGINX-PORT FREE-PORT [TEST...]
"""
import concurrent.futures
import copy
import json
import os
import re
import resource
import selectors
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from oob_client import Bridge, Refused, Web, request
from specclient import DATA, Direct, b64, clock, frame, unb64

BUILD = sys.argv[1]
NGINX, OOB_PORT = int(sys.argv[2]), int(sys.argv[3])
ASAN = "asan" in BUILD
DEADLINE = 60
SESSIONS_MAX = 4096
SHORT = 30  # seconds that an unconfirmed session lives
TESTS = []


def test(f):
    TESTS.append(f)
    return f


def together(work, *lists):
    """[work(...)] for each of the lists, several at a time: most of it is waiting."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        return list(pool.map(work, *lists))


def until(condition, what, seconds=DEADLINE):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time: " + what
        time.sleep(0.05)


class Target(threading.Thread):
    """Echoes, on any number of connections; what begins with NUL is swallowed."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        select = selectors.DefaultSelector()
        select.register(self.listener, selectors.EVENT_READ)
        while True:
            for key, _ in select.select():
                if key.fileobj is self.listener:
                    select.register(self.listener.accept()[0], selectors.EVENT_READ)
                    continue
                try:
                    data = key.fileobj.recv(1 << 18)
                    if data[:1] not in (b"", b"\0"):
                        key.fileobj.setblocking(True)
                        key.fileobj.sendall(data)
                    if data:
                        continue
                except OSError:
                    pass
                select.unregister(key.fileobj)
                key.fileobj.close()


class Server:
    """The bridge, launched as tor would."""

    def __init__(self, target, state, options="", descriptors=None):
        env = {k: v for k, v in os.environ.items() if k == "PATH" or "SAN_OPTIONS" in k}
        env.update(TOR_PT_MANAGED_TRANSPORT_VER="1", TOR_PT_SERVER_TRANSPORTS="sultry",
                   TOR_PT_STATE_LOCATION=state, TOR_PT_EXIT_ON_STDIN_CLOSE="1",
                   TOR_PT_SERVER_BINDADDR="sultry-127.0.0.1:0",
                   TOR_PT_ORPORT="127.0.0.1:%d" % target.port)
        if options:
            env["TOR_PT_SERVER_TRANSPORT_OPTIONS"] = options
        limit = ["prlimit", "--nofile=%d" % descriptors] if descriptors else []
        self.child = subprocess.Popen([*limit, BUILD + "/sultry-server"], env=env,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for line in self.child.stdout:
            if line.startswith(b"SMETHOD sultry"):
                words = line.decode().split()
                host, port = words[2].rsplit(":", 1)
                self.addr = (host, int(port))
                self.key = unb64(re.search(r"key=([A-Za-z0-9_-]+)", words[3]).group(1))
            if line.startswith(b"SMETHODS DONE"):
                break
        self.bridge = Bridge(self.addr, self.key)
        threading.Thread(target=self.child.stdout.read, daemon=True).start()
        before = self.descriptors()
        self.ask("GET", "/")  # whatever is made at the first request is made
        until(lambda: self.descriptors() <= before, "the first request leaves nothing open")
        self.descriptors_at_start = before

    def ask(self, *args, **more):
        web = Web(self.addr)
        reply = web.ask(*args, **more)
        web.close()
        return reply

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.child.pid))

    def rss(self):
        with open("/proc/%d/status" % self.child.pid) as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024

    def inner_port(self):
        """Where the built-in HTTPS server listens."""
        inodes = set()
        for fd in os.listdir("/proc/%d/fd" % self.child.pid):
            link = os.readlink("/proc/%d/fd/%s" % (self.child.pid, fd))
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
        ports = []
        with open("/proc/net/tcp") as f:
            for line in f.readlines()[1:]:
                words = line.split()
                if words[9] in inodes and words[3] == "0A":
                    ports.append(int(words[1].split(":")[1], 16))
        ports.remove(self.addr[1])
        return ports[0]

    def works(self):
        """It still serves: a session, an echo."""
        web = Web(self.addr)
        session = self.bridge.open(web, b"hello")
        while len(session.data) < 5:
            session.exchange(web, poll=True, wait_ms=5000)
        assert session.data == b"hello", session.data
        session.exchange(web, close="done")
        web.close()

    def idle(self):
        """Every descriptor that was opened meanwhile is closed again."""
        try:
            until(lambda: self.descriptors() <= self.descriptors_at_start,
                  "the descriptors are closed", SHORT + DEADLINE)
        except AssertionError as e:
            raise AssertionError("%s: %d, at the start %d" % (
                e, self.descriptors(), self.descriptors_at_start)) from None

    def stop(self):
        self.child.stdin.close()
        assert self.child.wait(DEADLINE) == 0, "the server's exit status"


def without_date(reply):
    top, body = reply
    top, n = re.subn(rb"\r\nDate: [^\r]+", b"", top)
    assert n == 1, top
    return top, body


# ---- everything malformed looks like an unknown path ----

def bad_opens(bridge):
    """Bodies that are no authentic open."""
    _, good = bridge.open_message()
    message = unb64(json.loads(good)["noise"])
    wrap = lambda m: json.dumps({"v": 1, "noise": b64(m)}).encode()
    yield from [b"", b"{", b"}", b"null", b"[]", b'"x"', b"0", b"{}", b"\0", b"\xff\xfe", b" " * 1000,
                b"[" * 100000, b'{"a":' * 50000, b'{"v":1}', b'{"noise":"AAAA"}']
    for value in (0, 2, -1, 1.0, "1", True, None, [], 1 << 70):
        yield json.dumps({"v": value, "noise": b64(message)}).encode()
    for value in (None, 1, "", [], {}, "A", "AAAAA", "A=", b64(message) + "=", b64(message)[:-1] + "+",
                  b64(message)[:-1] + "\n", " " + b64(message), "\u00e4", "a\u0000b",
                  b64(message).replace(b64(message)[5], "/", 1)):
        yield json.dumps({"v": 1, "noise": value}).encode()
    yield b'{"v":1,"noise":"' + b64(message).encode() + b'","noise":"AA"}'
    yield good + b"x"
    yield good[:-1]
    yield b"\xef\xbb\xbf" + good
    for n in (0, 1, 31, 32, 47, 48, 49, len(message) - 1):
        yield wrap(message[:n])
    yield wrap(message + b"\0")
    yield wrap(os.urandom(48))
    yield wrap(os.urandom(150000))
    for i in range(0, len(message), 37):
        yield wrap(message[:i] + bytes([message[i] ^ 1]) + message[i + 1:])
    # Points of low order as ephemeral keys.
    for point in (bytes(32), b"\1" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f",
                  b"\xed" + b"\xff" * 30 + b"\x7f", b"\xee" + b"\xff" * 30 + b"\x7f",
                  bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
                  bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157")):
        yield wrap(point + message[32:])
    yield Bridge(bridge.address, b"\x09" + bytes(31)).open_message()[1]


def bad_exchanges(session):
    good = session.box(n=1000)
    box = unb64(json.loads(good)["box"])
    wrap = lambda n, b: json.dumps({"v": 1, "n": n, "box": b64(b)}).encode()
    yield from [b"", b"{}", b'{"v":1,"n":0}', b'{"v":1,"n":0,"box":""}', good[:-1], good + b"{"]
    for n in (0, 999, 1001, -1, 1 << 63, 1 << 64, 1.5, "1000", None, True):
        yield wrap(n, box)
    for n in (0, 1, 15, 16, 17, len(box) - 1):
        yield wrap(1000, box[:n])
    yield wrap(1000, box + b"\0")
    for i in range(0, len(box), 41):
        yield wrap(1000, box[:i] + bytes([box[i] ^ 0x80]) + box[i + 1:])
    yield wrap(1000, os.urandom(150000))


@test
def malformed_requests_get_the_404(server):
    bridge = server.bridge
    web, other = Web(server.addr), Web(server.addr)
    session = bridge.open(web)
    unknown = without_date(other.ask("POST", "/no/such/path", b"x"))
    assert unknown[0].startswith(b"HTTP/1.1 404 Not Found\r\n"), unknown
    count = 0

    def same(method, path, body, want=unknown):
        nonlocal count
        got = without_date(other.ask(method, path, body))
        assert got == want, "%s %s with %r...%r: %r" % (method, path, body[:40], body[-40:],
                                                        [part[:100] for part in got])
        count += 1

    for body in bad_opens(bridge):
        same("POST", bridge.base, body)
        same("POST", bridge.base + "/AAAAAAAAAAAAAAAAAAAAAA", body)
    for body in bad_exchanges(session):
        same("POST", session.path, body)
    good = session.box(n=2000)
    last = session.path[-1]
    for path in (session.path[:-1], session.path + "A", session.path + "/", session.path + "/x",
                 session.path[:-1] + ("A" if last != "A" else "B"), bridge.base + "/",
                 bridge.base + "//", bridge.base + "x", bridge.base[:-1], bridge.base.upper(),
                 "/x" + bridge.base, bridge.base + "/..", bridge.base + "/%41", "//" + bridge.base):
        same("POST", path, good)
    # Another session's box.
    second = bridge.open(web)
    same("POST", second.path, good)
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
        want = without_date(other.ask(method, "/no/such/path"))
        for path in (bridge.base, session.path, bridge.base + "/AAAAAAAAAAAAAAAAAAAAAA"):
            same(method, path, b"", want)
    # None of it has hurt the session.
    assert session.exchange(web, b"x")[0]["up_ack"][0] == 1
    for s in (session, second):
        s.exchange(web, close="done")
    web.close()
    other.close()
    return "%d requests" % count


def http_answer(addr, data):
    """All that comes back, up to an end or to silence; the Date taken out."""
    web = Web(addr)
    web.sock.settimeout(3)
    out = b""
    try:
        web.send(data)
    except (ConnectionError, ssl.SSLError):
        pass  # it may have answered before it hung up
    try:
        while more := web.sock.recv(65536):
            out += more
        end = "end"
    except TimeoutError:
        end = "silence"
    except (ConnectionError, ssl.SSLError):
        end = "end"
    web.close()
    return re.sub(rb"\r\nDate: [^\r]+", b"", out), end


@test
def malformed_http_is_the_same_everywhere(server):
    """evhttp's own error pages: whatever they are, the path makes no difference."""
    cases = {
        "declared too long": (["Content-Length: 300000"], b""),
        "too long": (["Content-Length: 300000"], b"x" * 300000),
        "chunked": (["Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n"),
        "chunked too long": (["Transfer-Encoding: chunked"], b"493e0\r\n" + b"x" * 300000),
        "chunked garbage": (["Transfer-Encoding: chunked"], b"zz\r\nhello\r\n"),
        "negative": (["Content-Length: -1"], b""),
        "not a number": (["Content-Length: 5x"], b"hello"),
        "huge": (["Content-Length: 99999999999999999999"], b"hello"),
        "twice": (["Content-Length: 5", "Content-Length: 6"], b"hello!"),
        "expect": (["Expect: 100-continue", "Content-Length: 5"], b""),
        "expect more": (["Expect: 100-continue", "Content-Length: 300000"], b""),
        "headers": (["X: " + "y" * 20000], b""),
        "many headers": (["X%d: y" % i for i in range(3000)], b""),
        "no colon": (["nonsense"], b""),
        "half": (["Content-Length: 50"], b"hello"),
        "upgrade": (["Upgrade: websocket", "Connection: Upgrade"], b""),
        "close": (["Connection: close"], b""),
    }
    paths = ["/no/such/path/as/that/one", server.bridge.base,
             server.bridge.base + "/AAAAAAAAAAAAAAAAAAAAAA"]

    def ask_all(name):
        headers, body = cases[name]
        answers = [http_answer(server.addr, request("POST", path, body, headers)) for path in paths]
        # Who is reset while it still sends may not hear why.
        kinds = set(answers) - ({(b"", "end")} if len(body) > 100000 else set())
        assert len(kinds) <= 1, "%s: %s" % (name, answers)

    def ask_line(line):
        answers = [http_answer(server.addr, line % path.encode()) for path in paths]
        assert len(set(answers)) == 1, "%r: %s" % (line, answers)

    lines = [b"POST %s HTTP/1.1\r\n\r\n", b"POST %s HTTP/9.9\r\n\r\n", b"POST %s\r\n\r\n",
                 b"%s\r\n\r\n", b"POST  %s HTTP/1.1\r\n\r\n", b"post %s HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"FOO %s HTTP/1.1\r\nHost: x\r\n\r\n", b"POST http://x%s HTTP/1.1\r\n\r\n"]
    together(ask_all, cases)
    together(ask_line, lines)
    return "%d requests" % (len(paths) * (len(cases) + len(lines)))


# ---- what an authentic client may and may not do ----

@test
def refusals(server):
    web, bridge = Web(server.addr), server.bridge
    for header, code in (({"op": "resolve", "time": clock(), "host": "x"}, "unsupported"),
                         ({"op": "dance", "time": clock()}, "bad_request"),
                         ({"op": "open", "up": 0}, "bad_request"),
                         ({"op": "open", "time": clock(), "up": 1}, "bad_request"),
                         ({"op": "open", "time": -1, "up": 0}, "bad_request"),
                         ({"op": "open", "time": clock() - 130000, "up": 0}, "clock_skew"),
                         ({"op": "open", "time": clock() + 2000, "up": 0}, "clock_skew"),
                         ({"op": "open", "time": (1 << 62) - 1, "up": 0}, "clock_skew"),
                         ({"op": "open", "time": clock(), "up": 0,
                           "target": {"host": "127.0.0.1", "port": 22}}, "target_denied")):
        got, _ = bridge.one_shot(web, header)
        assert got.get("error", {}).get("code") == code, (header, got)
        if code == "clock_skew":
            assert abs(got["time"] - clock()) < 60000, got
    for data in (b"x" * 32769,):
        got, _ = bridge.one_shot(web, {"op": "open", "time": clock(), "up": 0}, data)
        assert got["error"]["code"] == "bad_request", got
    assert bridge.alive(web, "A" * 22) is False
    web.close()


@test
def opens_that_come_again(server):
    web, other, bridge = Web(server.addr), Web(server.addr), server.bridge
    unknown = without_date(web.ask("POST", "/no/such/path", b"x"))
    shake, body = bridge.open_message(b"hi")
    first = web.ask("POST", bridge.base, body)
    assert other.ask("POST", bridge.base, body)[1] == first[1], "another reply to the same open"
    session = bridge.opened(shake, first)
    assert bridge.alive(web, session.id)
    session.exchange(web, b"")
    # It is confirmed: from now on a copy is an unknown path, at once.
    other.sock.settimeout(10)
    assert without_date(other.ask("POST", bridge.base, body)) == unknown
    session.exchange(web, close="done")
    assert without_date(other.ask("POST", bridge.base, body)) == unknown
    web.close()
    other.close()


@test
def broken_exchanges(server):
    """Authentic nonsense costs its sender the session, and nobody else anything."""
    web, bridge = Web(server.addr), server.bridge
    for more, data in (({"up": 1 << 40}, b"x"), ({"up": 300000, "fin": True}, b""),
                       ({"down_ack": [1, 1]}, b""), ({"down_ack": [1 << 50, 1 << 50]}, b""),
                       ({"up": 262144 - 3}, b"xxxx"), ({"epoch": -1}, b""), ({"epoch": 1 << 31}, b""),
                       ({"up_limit": -1}, b""), ({"wait_ms": 60001}, b""), ({"close": "never"}, b""), ({"poll": 1}, b""),
                       ({"op": "open"}, b""), ({"down_ack": [0]}, b""), ({}, b"x" * 131073),
                       ({"epoch": (1 << 31) - 1, "poll": True}, b"")):
        session = bridge.open(web)
        session.start(web, data, **more)
        top, _ = web.reply()
        assert top.startswith(b"HTTP/1.1 200 "), (more, top)
        session.exchange(web, close="reset")
    web.close()


@test
def polls(server):
    """One is held at a time; older ones give way; a late one owns nothing."""
    webs, bridge = [Web(server.addr) for _ in range(3)], server.bridge
    session = bridge.open(webs[0])
    session.start(webs[0], poll=True, wait_ms=30000)
    time.sleep(0.1)
    session.start(webs[1], poll=True, wait_ms=30000)
    header, data = session.finish(webs[0])
    assert header.get("re") == 0 and data == b"", header
    session.exchange(webs[2], b"echo me")
    header, data = session.finish(webs[1])
    assert header["re"] == 1 and data == b"echo me", (header, data)
    # The same bytes again: another reply under another nonce, the bytes are not taken twice.
    body = session.box(b"echo me", up=0, down_ack=[7, 262144])
    replies = [web.ask("POST", session.path, body) for web in webs]
    assert len({reply[1] for reply in replies}) == 3
    session.sent = 7
    header, _ = session.exchange(webs[0], close="done")
    assert header["up_ack"][0] == 7 and header["close"], header
    for web in webs:
        web.close()


# ---- many at once ----

@test
def idle_and_slow_connections(server):
    held = [socket.create_connection(server.addr) for _ in range(300)]
    held += [Web(server.addr).sock for _ in range(300)]
    for i in range(100):
        web = Web(server.addr)
        web.send(request("POST", server.bridge.base, b"x" * 1000)[:60 + i * 3])
        held.append(web.sock)
        s = socket.create_connection(server.addr)
        s.sendall(b"\x17\x03\x03\x01\x00abcdefghijklmnopqrstuvwxyz"[:1 + i % 25])
        held.append(s)
    rss = server.rss()
    server.works()
    # They trickle on, and others are served meanwhile.
    for _ in range(3):
        for s in held[600:]:
            s.sendall(b"x")
        server.works()
    for s in held:
        s.close()
    server.idle()
    return "VmRSS %d MB with %d connections" % (rss, len(held))


def fill(address, server):
    """Many more strangers than there is room for, in vain."""
    web = Web(address)
    session = server.bridge.open(web, b"regular")
    held = [socket.create_connection(address, DEADLINE) for _ in range(600)]
    held += [Web(address) for _ in range(100)]
    server.works()
    until(lambda: session.exchange(web, poll=True, wait_ms=500) and len(session.data) >= 7, "the echo")
    session.exchange(web, close="done")
    for s in [*held, web]:
        s.close()


@test
def strangers_fill_a_port(_):
    """Each port, with the built-in web server behind the public one and with another."""
    state = tempfile.mkdtemp(dir=os.environ["TMP"])
    server = Server(TARGET, state, descriptors=1024)
    fill(server.addr, server)
    server.idle()
    server.stop()
    server = Server(TARGET, state, "sultry:fallback=127.0.0.1\\:%d;sultry:oob=127.0.0.1\\:%d" % (
        NGINX, OOB_PORT), descriptors=1024)
    held = [socket.create_connection(server.addr, DEADLINE) for _ in range(600)]
    with socket.create_connection(server.addr, DEADLINE) as s:
        s.sendall(b"\x17")
        assert s.recv(100).startswith(b"HTTP/1.1 400 ")
    server.addr = server.bridge.address = ("127.0.0.1", OOB_PORT)
    fill(server.addr, server)
    for s in held:
        s.close()
    server.idle()
    server.stop()


def open_many(server, count, confirm):
    """Opens sessions on 16 connections; returns them and the errors."""
    made, errors = [], []

    def work(n):
        web = Web(server.addr)
        for _ in range(n):
            try:
                session = server.bridge.open(web)
                if confirm:
                    session.exchange(web)
                made.append(session)
            except Refused as e:
                errors.append(str(e))
        web.close()

    threads = [threading.Thread(target=work, args=(count // 16,)) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return made, errors


@test
def flood_of_opens(server):
    """Until the table is full: then busy, and the sessions that live go on."""
    web = Web(server.addr)
    session = server.bridge.open(web)
    session.exchange(web, b"before")
    made, errors = open_many(server, SESSIONS_MAX + 512, False)
    rss = server.rss()
    assert set(errors) == {"busy"}, set(errors)
    assert len(made) + 1 <= SESSIONS_MAX
    while len(session.data) < 6:
        session.exchange(web, poll=True, wait_ms=5000)
    assert session.data == b"before"
    session.exchange(web, close="done")
    web.close()
    server.idle()
    server.works()
    server.idle()
    return "%d opened, %d busy, VmRSS %d MB, %d MB after" % (len(made), len(errors), rss, server.rss())


@test
def held_polls_with_large_bodies(server):
    """A poll may bring 128 KiB and wait."""
    before = server.rss()
    webs, sessions = [], []
    for _ in range(200):
        web = Web(server.addr)
        session = server.bridge.open(web)
        session.start(web, bytes(131072), poll=True, wait_ms=25000)
        webs.append(web)
        sessions.append(session)
    time.sleep(1)
    rss = server.rss()
    for web, session in zip(webs, sessions):
        other = Web(server.addr)
        session.exchange(other, close="reset")
        other.close()
        session.finish(web)
        web.close()
    assert ASAN or rss - before < 64, "%d MB for %d polls" % (rss - before, len(webs))
    return "VmRSS %d MB before, %d MB with %d polls held" % (before, rss, len(webs))


@test
def direct_connections(server):
    """Hellos that come and go: each frees what it had."""
    web, bridge = Web(server.addr), server.bridge
    session = bridge.open(web)
    for epoch in range(40):
        direct = Direct(session, epoch)
        hello = direct.hello()
        wire = hello + direct.record(frame(DATA, 0, b"direct"))
        s = socket.create_connection(server.addr, DEADLINE)
        kind = epoch % 4
        if kind == 0:  # whole
            s.sendall(wire)
        elif kind == 1:  # garbage behind the hello
            s.sendall(wire[:-1] + bytes([wire[-1] ^ 1]) + os.urandom(100))
        elif kind == 2:  # cut short
            s.sendall(wire[:-3])
            s.shutdown(socket.SHUT_WR)
        else:  # one byte at a time, behind the tag
            s.sendall(wire[:21])
            for i in range(21, len(wire)):
                s.sendall(wire[i:i + 1])
        # Whatever comes, it comes in records.
        head = s.recv(3)
        assert head in (b"\x17\x03\x03", b""), head
        if kind in (1, 2):
            while s.recv(65536):
                pass
        s.close()
    # It moved to OOB and back all the time; the stream is whole.
    session.epoch, session.sent = 40, 6
    until(lambda: session.exchange(web, poll=True, wait_ms=500) and len(session.data) >= 6, "the echo")
    assert session.data == b"direct", session.data
    # A retired hello is a stranger's: TLS answers with an alert.
    s = socket.create_connection(server.addr, DEADLINE)
    s.sendall(Direct(session, 3).hello())
    assert s.recv(1) == b"\x15"
    s.close()
    session.exchange(web, close="done")
    web.close()
    server.idle()


# ---- what a prober sees ----

def probe(addr, data, fin):
    """What comes back, and how it ends: [bytes, "end", "reset" or "open"]."""
    s = socket.create_connection(addr, DEADLINE)
    out = b""
    try:
        s.sendall(data)
        if fin:
            s.shutdown(socket.SHUT_WR)
        s.settimeout(1.5)
        while more := s.recv(65536):
            out += more
        end = "end"
    except TimeoutError:
        end = "open"
    except ConnectionError:
        end = "reset"
    s.close()
    return out, end


def probes():
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(range(193))
    for name, data in {
        "nothing": b"", "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "ssh": b"SSH-2.0-x\r\n",
        "zeros": bytes(100), "ff": b"\xff" * 100, "newlines": b"\n\n\n\n",
        "ssl2": bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0"),
        "broken hello": hello, "half a hello": hello[:100], "tls alert": b"\x15\x03\x01\x00\x02\x02\x28",
        "ccs": b"\x14\x03\x03\x00\x01\x01", "heartbeat": b"\x18\x03\x02\x00\x03\x01\x40\x00",
        "one byte": b"\x17", "appdata header": b"\x17\x03\x03", "appdata 20": b"\x17\x03\x03\x01\x00" + b"a" * 15,
        "appdata 21": b"\x17\x03\x03\x01\x00" + b"a" * 16, "appdata cut": b"\x17\x03\x03\x01\x00" + b"a" * 99,
        "appdata whole": b"\x17\x03\x03\x01\x00" + b"a" * 256,
        "appdata 1200": b"\x17\x03\x03\x04\xb0" + b"a" * 1200,
        "appdata 1201": b"\x17\x03\x03\x04\xb1" + b"a" * 1201,
        "appdata 32": b"\x17\x03\x03\x00\x20" + b"a" * 32, "appdata 33": b"\x17\x03\x03\x00\x21" + b"a" * 33,
        "appdata 0": b"\x17\x03\x03\x00\x00", "appdata huge": b"\x17\x03\x03\xff\xff" + b"a" * 200,
        "appdata 0301": b"\x17\x03\x01\x00\x40" + b"a" * 64,
    }.items():
        yield name, data, False
        yield name + ", FIN", data, True


def shape(answer):
    data, end = answer
    if data[:1] == b"\x15" and len(data) >= 7:
        text = "alert %d" % data[6]
    else:
        text = "%d bytes %r" % (len(data), data[:12]) if data else "nothing"
    return "%s, %s" % (text, end)


def ask_both(one, other):
    """[(name, bytes, FIN, how one answers, how the other does)]"""
    return together(lambda p: (*p, shape(probe(one, *p[1:])), shape(probe(other, *p[1:]))), probes())


@test
def front_is_transparent(server):
    """On any bytes, the public port and what is behind it answer alike."""
    inner = ("127.0.0.1", server.inner_port())
    for name, _, _, got, want in ask_both(server.addr, inner):
        assert got == want, "%s: %s, behind it %s" % (name, got, want)


@test
def front_is_transparent_for_nginx(_):
    state = tempfile.mkdtemp(dir=os.environ["TMP"])
    server = Server(TARGET, state, "sultry:fallback=127.0.0.1\\:%d;sultry:oob=127.0.0.1\\:%d" % (
        NGINX, OOB_PORT))
    for name, _, _, got, want in ask_both(server.addr, ("127.0.0.1", NGINX)):
        assert got == want, "%s: %s, nginx %s" % (name, got, want)
    server.idle()
    # The API is reached on its own listener.
    server.addr = server.bridge.address = ("127.0.0.1", OOB_PORT)
    server.works()
    server.idle()
    server.stop()


@test
def differences_from_other_servers(server):
    """The built-in server is neither nginx nor OpenSSL; the differences are these, no more."""
    known = {"ff", "ssl2", "tls alert", "ccs", "heartbeat", "one byte", "appdata header", "appdata 20",
             "appdata 21", "appdata cut", "appdata 0"}
    out, unknown = [], []
    s_server = subprocess.Popen(["openssl", "s_server", "-accept", "0", "-www", "-cert",
                                 os.environ["TMP"] + "/web.crt", "-key", os.environ["TMP"] + "/web.key"],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        for line in s_server.stdout:
            if line.startswith(b"ACCEPT"):
                port = int(line.split(b":")[-1])
                break
        threading.Thread(target=s_server.stdout.read, daemon=True).start()
        for name, data, fin, ours, theirs in ask_both(server.addr, ("127.0.0.1", NGINX)):
            openssl = shape(probe(("127.0.0.1", port), data, fin))  # serves one at a time
            if ours not in (theirs, openssl):
                out.append("%s: we: %s | nginx: %s | openssl: %s" % (name, ours, theirs, openssl))
                if name.removesuffix(", FIN") not in known:
                    unknown.append(out[-1])
    finally:
        s_server.kill()
        s_server.wait()
    assert not unknown, unknown
    return "\n      ".join(["%d differences" % len(out), *out])


# ---- the end ----

@test
def killed_while_polls_are_held(_):
    state = tempfile.mkdtemp(dir=os.environ["TMP"])
    server = Server(TARGET, state)
    webs = [Web(server.addr) for _ in range(30)]
    sessions = []
    for web in webs:
        sessions.append(server.bridge.open(web))
        sessions[-1].start(web, poll=True, wait_ms=25000)
    time.sleep(0.2)
    server.child.kill()
    server.child.wait()
    for web in webs:
        assert web.reply() == (b"", b"")
        web.close()
    again = Server(TARGET, state)
    assert again.key == server.key, "the key has changed"
    web = Web(again.addr)
    for session in sessions:
        assert again.bridge.alive(web, session.id) is False
        assert web.ask("POST", session.path, session.box())[0].startswith(
            b"HTTP/1.1 404 ")
    web.close()
    again.works()
    again.idle()
    again.stop()


@test
def replayed_to_the_next_process(_):
    """What one process has opened, the next one does not."""
    state = tempfile.mkdtemp(dir=os.environ["TMP"])
    server = Server(TARGET, state)
    shake, body = server.bridge.open_message(b"once")
    ahead_shake, ahead = server.bridge.message({"op": "open", "time": clock() + 60000, "up": 0})

    def code(bridge, shake, body):
        web = Web(bridge.address)
        try:
            bridge.opened(copy.copy(shake), web.ask("POST", bridge.base, body))
        except Refused as e:
            return str(e)
        finally:
            web.close()
        return "opened"

    assert code(server.bridge, shake, body) == "opened"
    assert code(server.bridge, ahead_shake, ahead) == "clock_skew"
    server.child.kill()
    server.child.wait()
    again = Server(TARGET, state)
    assert code(again.bridge, shake, body) == "clock_skew"
    assert code(again.bridge, ahead_shake, ahead) == "clock_skew"
    again.works()
    again.stop()


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server(TARGET, tempfile.mkdtemp(dir=os.environ["TMP"]))
    start = time.monotonic()
    failed = 0
    for f in TESTS:
        if len(sys.argv) > 4 and f.__name__ not in sys.argv[4:]:
            continue
        try:
            note = f(server)
            server.works()
            server.idle()
            print("%4ds  %s%s" % (time.monotonic() - start, f.__name__, ": " + note if note else ""),
                  flush=True)
        except Exception as e:  # pylint: disable=broad-except
            failed += 1
            line = traceback.extract_tb(e.__traceback__)[-1].lineno
            print("%4ds  FAIL %s, line %d: %s" % (time.monotonic() - start, f.__name__, line,
                                                  repr(e)[:1500]), flush=True)
            if server.child.poll() is not None:
                print("the server has ended: %s" % server.child.returncode)
                sys.exit(1)
    server.stop()
    sys.exit(1 if failed else 0)


TARGET = Target()
if __name__ == "__main__":
    main()
