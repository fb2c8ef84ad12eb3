"""What goes through: upstream proxies (PT-CHECKLIST items 36, 38), source addresses (19), the
bytes of both directions and how they end (53)."""
import hashlib
import os
import socket
import ssl
import struct
import threading

from pt_kit import (DEADLINE, Lan, Sniffer, client, connect, exactly, request, server, socks,
                    socks_start, test, text_of, through, to_end, until)
from pt_peers import Listener, Proxy, certificate, echo, hop


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def use(c, bridge, args=None):
    """A few round trips, the later of them on the direct connection."""
    s = through(c, bridge, args)
    for i in range(4):
        s.sendall(b"%04d" % i)
        assert exactly(s, 4) == b"%04d" % i
    return s


# ---- proxies ----

def outside(sniffer, lan, *allowed):
    """What left the namespace for anywhere else than the allowed addresses."""
    seen = sniffer.stop()
    assert any((x[3], x[4]) in allowed for x in seen) or not allowed, "the sniffer is blind"
    return [x for x in seen if x[1] in (lan.far, lan.far2, lan.far6, lan.far62)
            and x[0] != 58 and (x[0] != 6 or (x[3], x[4]) not in allowed)]


def check_proxy(t, kind, login=None, names=True):
    lan = Lan(t)
    bridge = server(t, Listener(t, echo).address, TOR_PT_SERVER_BINDADDR="sultry-0.0.0.0:0")
    # Reachable for the client without the proxy as well: it has to stay away.
    bridge.host = lan.near
    proxy = Proxy(t, kind, lan.near, {"bridge.example": (lan.near, bridge.port)}, login)
    uri = proxy.uri(":".join(x for x in login or () if x is not None))
    sniffer = Sniffer(t, lan.device)
    with lan.inside():
        inner = Sniffer(t, "lo")
        c = client(t, TOR_PT_PROXY=uri)
        use(c, bridge)
        at = (lan.near, bridge.port)
        until(lambda: len(proxy.asked) >= 2, "OOB and direct")
        for asked in proxy.asked:
            assert asked[:2] == at, asked
            if login:
                assert asked[2:4] == login, asked
        url = f";url=https://bridge.example:{bridge.port}"
        if names:
            use(c, bridge, bridge.args + url)
            assert ("bridge.example", bridge.port) in [x[:2] for x in proxy.asked], proxy.asked
        else:
            assert socks(c, at, bridge.args + url) == 1, "a name through socks4"
        others = outside(sniffer, lan, proxy.address)
        assert not others, f"around the proxy: {others}"
        others = [x for x in inner.stop() if c.socks not in (x[2], x[4])]
        assert not others, f"to itself: {others}"


@test("36 38", "all through a SOCKS4 proxy")
def socks4(t):
    check_proxy(t, "socks4", names=False)


@test("36 38", "all through a SOCKS4 proxy with a user")
def socks4_user(t):
    check_proxy(t, "socks4", ("me", None), names=False)


@test("36 38", "all through a SOCKS4a proxy")
def socks4a(t):
    check_proxy(t, "socks4a", ("me", None))


@test("36 38", "all through a SOCKS5 proxy")
def socks5(t):
    check_proxy(t, "socks5")


@test("35 36 38", "all through a SOCKS5 proxy with credentials")
def socks5_login(t):
    check_proxy(t, "socks5", ("us er", "p@ss:w%rd"))


@test("36 38", "all through an HTTP proxy")
def http(t):
    check_proxy(t, "http")


@test("35 36 38", "all through an HTTP proxy with credentials")
def http_login(t):
    check_proxy(t, "http", ("user", "p@ss:word"))


def check_refusal(t, rep, why, kind, refuse=None, wants=None):
    lan = Lan(t)
    bridge = server(t, Listener(t, echo).address, TOR_PT_SERVER_BINDADDR="sultry-0.0.0.0:0")
    bridge.host = lan.near
    proxy = Proxy(t, kind, lan.near, login=wants, refuse=refuse)
    if refuse is None and wants is None:
        proxy.stop()
    sniffer = Sniffer(t, lan.device)
    with lan.inside():
        c = client(t, TOR_PT_PROXY=proxy.uri("a:wrong" if wants else ""))
        for args in (bridge.args, bridge.args + ";url=https://bridge.example:443",
                     bridge.args + ";url=https://bridge.example;front=front.example"):
            got = socks(c, (lan.near, bridge.port), args)
            assert got == rep, f"REP {got}"
            c.warned("the upstream proxy" + why)
        others = outside(sniffer, lan, proxy.address)
        assert not others, f"around the proxy: {others}"


for what, arguments in (
        ("SOCKS5 proxy that is not there", (5, ": Connection refused", "socks5")),
        ("SOCKS5 proxy that says refused",
         (5, " says: Connection refused", "socks5", b"\5\5\0\1" + bytes(6))),
        ("SOCKS5 proxy that says no route to the host",
         (4, " says: No route to host", "socks5", b"\5\4\0\1" + bytes(6))),
        ("SOCKS5 proxy that says no route to the network",
         (3, " says: Network is unreachable", "socks5", b"\5\3\0\1" + bytes(6))),
        ("SOCKS5 proxy that says too late",
         (6, " says: Connection timed out", "socks5", b"\5\6\0\1" + bytes(6))),
        ("SOCKS5 proxy that says denied",
         (1, " says: Permission denied", "socks5", b"\5\2\0\1" + bytes(6))),
        ("SOCKS5 proxy that hangs up", (5, " says: Connection reset by peer", "socks5", b"")),
        ("SOCKS5 proxy that wants other credentials",
         (1, " says: Permission denied", "socks5", None, ("a", "b"))),
        ("SOCKS4a proxy that says no",
         (5, " says: Connection refused", "socks4a", b"\0\x5b" + bytes(6))),
        ("HTTP proxy that says 403",
         (1, ": HTTP status 403", "http", b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")),
        ("HTTP proxy that says 504",
         (6, ": HTTP status 504", "http", b"HTTP/1.1 504 No\r\nContent-Length: 0\r\n\r\n")),
        ("HTTP proxy that hangs up", (5, " says: Connection reset by peer", "http", b"")),
        ("HTTP proxy that wants other credentials",
         (1, ": HTTP status 407", "http", None, ("a", "b")))):
    test("38 47", f"a {what}: nothing goes around it, and the app is told")(
        lambda t, arguments=arguments: check_refusal(t, *arguments))


@test("38", "the control: without a proxy the same checks see all of it")
def no_proxy(t):
    lan = Lan(t)
    bridge = server(t, Listener(t, echo).address, TOR_PT_SERVER_BINDADDR="sultry-0.0.0.0:0")
    bridge.host = lan.near
    sniffer = Sniffer(t, lan.device)
    with lan.inside():
        c = client(t)
        use(c, bridge)
        s = socks_start(c, bridge.args + ";url=https://bridge.example:443")
        s.sendall(request((lan.near, bridge.port)))
        until(lambda: any(x[0] == 17 and x[4] == 53 for x in sniffer.seen), "a look-up")
    others = outside(sniffer, lan)
    assert any((x[3], x[4]) == (lan.near, bridge.port) for x in others), "no connection"
    assert any(x[0] == 17 and x[4] == 53 for x in others), "no look-up"


# ---- source addresses ----

@test("19", "the source address, of both families, towards the bridge and the proxy")
def source_address(t):
    lan = Lan(t)
    orport = Listener(t, echo)
    bridge = server(t, orport.address)
    variables = {"TOR_PT_OUTBOUND_BIND_ADDRESS_V4": lan.far2,
                 "TOR_PT_OUTBOUND_BIND_ADDRESS_V6": f"[{lan.far62}]"}
    for near, far, far2 in ((lan.near, lan.far, lan.far2), (lan.near6, lan.far6, lan.far62)):
        for env, source in (({}, {far, far2}), (variables, {far2})):
            way = hop(t, (bridge.host, bridge.port), near)
            with lan.inside():
                c = client(t, **env)
                s = socks(c, way.address, bridge.args)
                s.sendall(b"x")
                assert exactly(s, 1) == b"x"
            until(lambda: len(way.peers) >= 2, "OOB and direct")
            assert {x[0] for x in way.peers} <= source, way.peers
            proxy = Proxy(t, "socks5", near)
            with lan.inside():
                c = client(t, TOR_PT_PROXY=proxy.uri(), **env)
                use(c, bridge)
            until(lambda: len(proxy.asked) >= 2, "OOB and direct through the proxy")
            assert {x[4][0] for x in proxy.asked} <= source, proxy.asked


@test("19", "the source address of a server's dial, which leaves a loopback ORPort alone")
def server_source(t):
    lan = Lan(t)
    for host, source in (("127.0.0.1", "127.0.0.1"), (lan.near, lan.far2)):
        orport = Listener(t, echo, host)
        with lan.inside():
            if host == "127.0.0.1":
                orport = Listener(t, echo, host)
            bridge = server(t, orport.address, TOR_PT_OUTBOUND_BIND_ADDRESS_V4=lan.far2,
                            TOR_PT_OUTBOUND_BIND_ADDRESS_V6=f"[{lan.far62}]")
            use(client(t), bridge)
        assert {x[0] for x in orport.peers} == {source}, orport.peers


# ---- the bytes ----

def tls_contexts(t, version):
    cert, key = certificate(t)
    target = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    target.load_cert_chain(cert, key)
    app = ssl.create_default_context(cafile=cert)
    app.minimum_version = app.maximum_version = version
    return app, target


class Tls:
    """TLS over a socket, whose own end and reset show through as on a plain one: Python's
    SSLSocket takes a half-close for a broken connection."""

    def __init__(self, s, context, name=None):
        self.s, self.into, self.out = s, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.into, self.out, name is None, name)
        self.lock = threading.Lock()
        self.shutdown, self.close = s.shutdown, s.close
        self.setsockopt, self.settimeout = s.setsockopt, s.settimeout
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                self.into.write(self.s.recv(1 << 16))
        self.flush()

    def flush(self):
        if data := self.out.read():
            self.s.sendall(data)

    def sendall(self, data):
        for i in range(0, len(data), 1 << 16):
            with self.lock:
                self.tls.write(data[i:i + (1 << 16)])
                records = self.out.read()
            self.s.sendall(records)

    def recv(self, n):
        while True:
            with self.lock:
                try:
                    return self.tls.read(n)
                except ssl.SSLWantReadError:
                    pass
            data = self.s.recv(1 << 16)
            if not data:
                return b""
            with self.lock:
                self.into.write(data)


class End:
    """One end of a connection in a test: the app's, or the target's. It sends `size` random
    bytes and the end of its stream, at once or when the other end has ended (`first`)."""

    def __init__(self, s, size, first):
        self.s, self.size, self.first = s, size, first
        self.sent, self.got, self.n = None, None, 0
        self.heard_end, self.error = threading.Event(), None

    def run(self):
        threads = [threading.Thread(target=self.guard, args=(f,), daemon=True)
                   for f in (self.send, self.receive)]
        for x in threads:
            x.start()
        return threads

    def guard(self, function):
        try:
            function()
        except Exception as e:
            self.error = self.error or e
            self.heard_end.set()

    def send(self):
        data = os.urandom(self.size)
        self.sent = hashlib.sha256(data).digest()
        if data:
            self.s.sendall(data)
        if not self.first:
            assert self.heard_end.wait(2 * DEADLINE), "the other end's end did not come"
        self.s.shutdown(socket.SHUT_WR)

    def receive(self):
        digest = hashlib.sha256()
        while data := self.s.recv(1 << 16):
            digest.update(data)
            self.n += len(data)
        self.got = digest.digest()
        self.heard_end.set()


class Pair:
    """A target that hands out its end of each connection, in the order of their coming."""

    def __init__(self, t):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.address = self.listener.getsockname()
        t.callback(self.listener.close)

    def accept(self):
        s, _ = self.listener.accept()
        s.settimeout(2 * DEADLINE)
        return s


def exchange(app, target, up, down, app_first):
    """Both send, one ends first; all bytes arrive, and the ends where they belong."""
    ends = [End(app, up, app_first), End(target, down, not app_first)]
    threads = [x for e in ends for x in e.run()]
    for x in threads:
        x.join(2 * DEADLINE)
        assert not x.is_alive(), f"it hangs: {[(e.n, e.size) for e in ends]}"
    a, b = ends
    what = f"{up} up, {down} down, {'app' if app_first else 'target'} ends first: "
    for e in ends:
        assert e.error is None, what + repr(e.error)
    assert a.sent == b.got, f"{what}{b.n} bytes arrived up"
    assert b.sent == a.got, f"{what}{a.n} bytes arrived down"
    app.close()
    target.close()


SIZES = (0, 1, 16384, 16385, 5000000)
BANNER = b"220 the server speaks first\r\n"


def both_ends(t, c, bridge, args, pair, protocol):
    app = through(c, bridge, args)
    app.settimeout(2 * DEADLINE)
    if protocol == "server first":
        target = pair.accept()
        target.sendall(BANNER)
        assert exactly(app, len(BANNER)) == BANNER
        return app, target
    if protocol == "client first":
        app.sendall(BANNER)
        target = pair.accept()
        assert exactly(target, len(BANNER)) == BANNER
        return app, target
    app_context, target_context = protocol
    ready = []

    def handshake():
        ready.append(Tls(pair.accept(), target_context))
    thread = threading.Thread(target=handshake, daemon=True)
    thread.start()
    app = Tls(app, app_context, "target.example")
    thread.join(DEADLINE)
    assert ready, "no TLS connection at the target"
    return app, ready[0]


def way(t, oob_only):
    """A bridge, a client, and the arguments of its line. If oob_only, nothing listens where
    direct connections go."""
    pair = Pair(t)
    bridge, c = server(t, pair.address), client(t)
    args = bridge.args
    if oob_only:
        args += ";url=https://" + text_of((bridge.host, bridge.port))
        bridge.host = "127.0.0.99"
        bridge.port = 1
    return c, bridge, args, pair


def check_bytes(t, protocol, oob_only):
    c, bridge, args, pair = way(t, oob_only)
    for n in SIZES:
        for app_first in (True, False):
            for up, down in {(n, n), (n, 0), (0, n)} if n > 1 else {(n, n)}:
                app, target = both_ends(t, c, bridge, args, pair, protocol)
                exchange(app, target, up, down, app_first)


def check_resets(t, protocol, oob_only):
    c, bridge, args, pair = way(t, oob_only)
    for by_app in (True, False):
        for traffic in (0, 100000):
            app, target = both_ends(t, c, bridge, args, pair, protocol)
            near, far = (app, target) if by_app else (target, app)
            near.sendall(b"x" * traffic)
            got = 0
            while got < traffic:
                got += len(far.recv(1 << 16))
            far.sendall(b"back")
            exactly(near, 4)
            reset(near)
            try:
                heard = far.recv(1)
                raise AssertionError(f"a reset arrived as {heard or 'an end of stream'}: "
                                     f"by {'app' if by_app else 'target'}, after {traffic}")
            except ConnectionResetError:
                far.close()


for name, protocol in (("TLS 1.3", ssl.TLSVersion.TLSv1_3), ("TLS 1.2", ssl.TLSVersion.TLSv1_2),
                       ("server speaks first", "server first"),
                       ("client speaks first", "client first")):
    for carrier, oob_only in (("direct", False), ("OOB alone", True)):
        def run_bytes(t, protocol=protocol, oob_only=oob_only):
            if isinstance(protocol, ssl.TLSVersion):
                protocol = tls_contexts(t, protocol)
            check_bytes(t, protocol, oob_only)

        def run_resets(t, protocol=protocol, oob_only=oob_only):
            if isinstance(protocol, ssl.TLSVersion):
                protocol = tls_contexts(t, protocol)
            check_resets(t, protocol, oob_only)
        test("53", f"bytes and half-closes, {name}, {carrier}")(run_bytes)
        test("53", f"resets, {name}, {carrier}")(run_resets)


@test("53", "an app and a target that both close at once, many times")
def many(t):
    bridge = server(t, Listener(t, echo).address)
    c = client(t)
    before = len(c.descriptors())
    errors = []

    def one(i):
        try:
            s = through(c, bridge)
            data = os.urandom(i * 997)
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            assert to_end(s) == data
            s.close()
        except Exception as e:
            errors.append(e)
    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(40)]
    for x in threads:
        x.start()
    for x in threads:
        x.join(DEADLINE)
    assert not errors, errors[:3]
    until(lambda: len(c.descriptors()) < before + 20, "descriptors come back")
    connect(c.socks).close()
