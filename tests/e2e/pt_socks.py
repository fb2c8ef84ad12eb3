"""The client's SOCKS server and the server's Extended ORPort: PT-CHECKLIST items 39 to 51 and
64 to 70."""
import contextlib
import os
import re
import socket
import struct
import time

from pt_kit import (SLOW, Lan, Program, Sniffer, client, connect, credentials, exactly, read_reply,
                    request, run, server, socks, socks_start, test, text_of, through, to_end, until)
from pt_peers import Api, ExtOrPort, Listener, echo, swallow

HERE = ("127.0.0.1", 1)
GOOD_KEY = "key=" + "A" * 43


def bytes_in(c, data, expected):
    """An app that says `data` hears `expected` and the end."""
    s = connect(c.socks)
    s.sendall(data)
    heard = to_end(s)
    assert heard == expected, f"{data}: {heard}"


def refused(rep):
    return b"\5" + bytes([rep]) + b"\0\1\0\0\0\0\0\0"


# ---- the handshake ----

@test("39", "SOCKS methods and versions")
def methods(t):
    c = client(t)
    for offered, chosen in ((b"\2", 2), (b"\0", 0), (b"\0\2", 2), (b"\1\0\2", 2), (b"\2\0", 2),
                            (b"\0\1", 0), (bytes(range(255)), 2), (bytes(254) + b"\2", 2)):
        s = connect(c.socks)
        s.sendall(bytes([5, len(offered)]) + offered)
        assert exactly(s, 2) == bytes([5, chosen]), offered
    for bad in (b"\5\1\1", b"\5\0", b"\5\3\1\3\xff"):
        bytes_in(c, bad, b"\5\xff")
    for bad in (b"\4\1\1\0", b"\4", b"GET / HTTP/1.0\r\n", b"\0"):
        bytes_in(c, bad, b"")


@test("40", "RFC 1929")
def userpass(t):
    c = client(t)
    good = credentials(GOOD_KEY)
    for auth in (b"\0" + good[1:], b"\5" + good[1:], b"\1\0\1x", b"\1\0\0"):
        bytes_in(c, b"\5\1\2" + auth, b"\5\2\1\1")
    s = connect(c.socks)
    s.sendall(b"\5\1\2" + bytes([1, len(GOOD_KEY)]) + GOOD_KEY.encode() + b"\0")
    assert exactly(s, 4) == b"\5\2\1\0", "an empty password"


@test("41 42 43", "arguments, good and bad")
def arguments(t):
    bridge = server(t, Listener(t, echo).address)
    c = client(t)
    for good in ("key=", "key==", "a=b=c", r"a\=b=c", r"\;=\;;\\=\;", "k=v1;k=v2",
                 "a=" + "x" * 508):
        assert socks(c, HERE, good) == 1, good
    for bad in ("key", "key\\", "=v", "k=v\\", ";", "k=v;", ";k=v", "a;b=c", "\0\0", "x" * 300):
        bytes_in(c, b"\5\1\2" + credentials(bad), b"\5\2\1\1")
    escaped = "".join("\\" + x if x.isalnum() else x for x in bridge.args)
    padded = "x=" + "y" * (509 - len(bridge.args) - 2) + ";" + bridge.args
    assert len(padded) == 510
    split = "x=" + "y" * (253 - len("x=;key")) + ";" + bridge.args  # an escape across the two
    split = split[:254] + "\\" + split[254:]
    for args in (bridge.args, escaped, padded, split):
        s = through(c, bridge, args)
        s.sendall(b"x")
        assert s.recv(1) == b"x", args
    # Any cut between user name and password is the same.
    for at in (1, 100, len(bridge.args) - 1):
        s = connect(c.socks)
        user, password = bridge.args[:at].encode(), bridge.args[at:].encode()
        s.sendall(b"\5\1\2\1" + bytes([len(user)]) + user + bytes([len(password)]) + password)
        assert exactly(s, 4) == b"\5\2\1\0"
        s.sendall(request((bridge.host, bridge.port)))
        assert read_reply(s) == 0


@test("44 45 46", "requests that cannot be served, each with its reply and its log line")
def bad_requests(t):
    c = client(t)
    for args, why in ((None, "key"), ("a=b", "key"), ("key=AAAA", "key"), (GOOD_KEY, "key"),
                      (GOOD_KEY + ";pin=x", "pin"), (GOOD_KEY + ";base=x", "base"),
                      (GOOD_KEY + ";url=http://x/", "url"), (GOOD_KEY + ";url=x", "url"),
                      (GOOD_KEY + ";addr=x", "addr"), (GOOD_KEY + ";front=:", "front"),
                      (GOOD_KEY + ";sni=-", "sni"), (GOOD_KEY + ';url=https://"\n\\\xff/', "url")):
        before = len(c.lines)
        assert socks(c, HERE, args) == 1, args
        until(lambda: len(c.lines) > before, "a log line")
        assert re.match(rf'LOG SEVERITY=warning MESSAGE=".*\b{why}\b', c.lines[-1]), c.lines[-1]
    assert socks(c, ("bridge.example", 443), GOOD_KEY) == 1
    for command in (2, 3, 0, 9):
        s = socks_start(c, GOOD_KEY)
        s.sendall(request(HERE, command))
        assert to_end(s) == refused(7)
    for kind in (0, 2, 5):
        s = socks_start(c, GOOD_KEY)
        s.sendall(bytes([5, 1, 0, kind]) + bytes(16))
        assert to_end(s)[:10] == refused(8)


@test("45 46", "an IPv6 bridge; a byte at a time")
def ipv6_bridge(t):
    bridge = server(t, Listener(t, echo).address, TOR_PT_SERVER_BINDADDR="sultry-[::1]:0")
    c = client(t)
    s = connect(c.socks)
    for b in b"\5\1\2" + credentials(bridge.args) + request((bridge.host, bridge.port)):
        s.sendall(bytes([b]))
    assert exactly(s, 4) == b"\5\2\1\0"
    assert read_reply(s) == 0
    s.sendall(b"x")
    assert s.recv(1) == b"x"


@test("51", "the handshake's time, for the silent and for those that trickle")
def handshake_time(t):
    c, start = client(t), time.monotonic()
    silent, greeted, slow = connect(c.socks), connect(c.socks), connect(c.socks)
    greeted.sendall(b"\5\1\2")
    assert exactly(greeted, 2) == b"\5\2"
    slow.setblocking(False)
    end, sent = start + 25, 0
    data = b"\5\xff" + bytes(255)
    while True:
        assert time.monotonic() < end, "a handshake that trickles goes on"
        try:
            if not slow.recv(1):
                break
        except BlockingIOError:
            pass
        except ConnectionResetError:
            break
        try:
            slow.send(data[sent:sent + 1])
        except OSError:
            break
        sent += 1
        time.sleep(0.5)
    assert silent.recv(1) == b"" and greeted.recv(1) == b""
    assert 4 < time.monotonic() - start < 6 + SLOW, "it is not 5 s"


# ---- replies, each by what causes it ----

@test("47 48", "REP codes of a bridge whose ORPort cannot be reached")
def target_codes(t):
    lan = Lan(t)
    # Refused; an unreachable route; no route; a host that drops what it is to forward.
    run("ip", "route", "add", "unreachable", "198.51.100.1")
    run("ip", "route", "add", "192.0.2.0/24", "via", lan.far)
    dropped = ("192.0.2.1", 9)
    for orport, rep in ((("127.0.0.1", 9), 5), (("198.51.100.1", 9), 4), (("203.0.113.1", 9), 3),
                        (dropped, 6)):
        bridge, c = server(t, orport), client(t)
        got = socks(c, (bridge.host, bridge.port), bridge.args)
        assert got == rep, f"REP {got} for {orport}"
        c.warned("the bridge (says|did not answer)")


@test("47 49", "REP codes of bridges that are not what the line says")
def bridge_codes(t):
    orport = Listener(t, echo)
    bridge, other, c = server(t, orport.address), server(
        t, orport.address, TOR_PT_STATE_LOCATION=os.path.join(t.dir, "other")), client(t)
    key, pin = (dict(x.split("=", 1) for x in p.args.split(";")) for p in (bridge, other))
    at = (bridge.host, bridge.port)
    assert socks(c, at, f"key={pin['key']};pin={key['pin']}") == 1, "another bridge's key"
    c.warned(r"what answers .* \(HTTP status 404\) does not have the bridge's key")
    assert socks(c, at, f"key={key['key']};pin={pin['pin']}") == 1, "another pin"
    c.warned("OOB channel: SSL public key does not match pinned public key")
    assert socks(c, at, f"key={key['key']}") == 1, "no pin, and nobody vouches for it"
    c.warned("OOB channel: SSL peer certificate or SSH remote key was not OK")
    assert not orport.peers, "the target was dialled"
    # Nothing there; there, but hangs up; there, but no TLS.
    free = socket.create_server(("127.0.0.1", 0))
    address = free.getsockname()
    free.close()
    assert socks(c, address, bridge.args) == 5
    c.warned("OOB channel: Connection refused")
    rude = Listener(t, lambda s, peer: s.recv(1))
    assert socks(c, rude.address, bridge.args) in (1, 5)
    plain = Listener(t, lambda s, peer: s.sendall(b"220 not TLS\r\n") or to_end(s))
    assert socks(c, plain.address, bridge.args) == 1
    s = through(c, bridge)
    s.sendall(b"x")
    assert s.recv(1) == b"x", "the right one"


@test("44", "what the bridge's operator is told of an ORPort that fails: once")
def refusal_log(t):
    at = Listener(t, echo)
    bridge = server(t, at.address)
    at.stop()
    for _ in range(3):
        assert socks(client(t), (bridge.host, bridge.port), bridge.args) == 5
    bridge.warned("no connection to the ORPort: Connection refused")
    assert len(bridge.said("LOG")) == 1, bridge.lines


@test("47 49", "a bridge that is silent: the app hears in time, the log what else was tried")
def silent_bridge(t):
    with Lan(t).inside():  # where nobody else changes the network, which starts the tries anew
        check_silent(t)


def check_silent(t):
    mute, key = Listener(t, swallow), GOOD_KEY.replace("A", "Q")
    silent = "url=https://" + text_of(mute.address)
    for args, why in ((key, ""),
                      (f"{key};url=https://127.0.0.1:9;{silent}",
                       r" \(OOB channel: Connection refused\)")):
        c, start = client(t), time.monotonic()
        rep = socks(c, mute.address, args)
        assert rep == 6, f"REP {rep}"
        assert time.monotonic() - start < 10 + SLOW, "not within 10 s"
        c.warned("the bridge did not answer in time" + why)


@test("49", "ten seconds are all, with a clock that has to be corrected too")
def wrong_clock(t):
    with Lan(t).inside():  # as above
        check_wrong_clock(t)


def check_wrong_clock(t):
    asked, wrong_by = [], 1000000000

    def answer(header):
        asked.append(header["time"] - int(1000 * time.time()))
        if len(asked) > 1:
            return None
        time.sleep(5)
        return {"error": {"code": "clock_skew", "message": ""}, "time": int(1000 * time.time()) + wrong_by}
    api, c = Api(t, answer), client(t)
    start = time.monotonic()
    assert socks(c, api.address, api.args) == 6
    took = time.monotonic() - start
    assert abs(asked[0]) < 60000 and abs(asked[1] - wrong_by) < 60000, asked
    assert took < 13, f"{took:.1f} s"


@test("49", "warm: success at once, and an error behind it is a reset and a log line")
def warm(t):
    orport = Listener(t, echo)
    bridge = server(t, orport.address)
    c = client(t)
    s = through(c, bridge)
    s.sendall(b"x")
    assert s.recv(1) == b"x"
    orport.stop()
    s = through(c, bridge)
    s.sendall(b"first bytes")
    try:
        raise AssertionError(f"heard {s.recv(1)}")
    except ConnectionResetError:
        pass
    c.warned("target_refused")


@test("50", "the success reply has its own write")
def reply_alone(t):
    def banner(s, peer):
        s.sendall(b"220 the server speaks first\r\n")
        swallow(s, peer)
    with Lan(t).inside():
        sniffer = Sniffer(t, "lo")
        bridge = server(t, Listener(t, banner).address)
        c = client(t)
        for _ in range(3):
            s = through(c, bridge)
            assert exactly(s, 4) == b"220 "
        until(lambda: len([x for x in sniffer.seen if x[2] == c.socks and x[5] > 10]) >= 3,
              "packets")
        sizes = [x[5] for x in sniffer.stop() if x[2] == c.socks and x[5] > 0]
        assert sizes.count(10) >= 3 and set(sizes) <= {2, 10, 29}, sizes


@test("51 53", "early data behind the request arrives once, and its end")
def early_data(t):
    got = []

    def collect(s, peer):
        data = to_end(s)
        got.append(data)
        s.sendall(str(len(data)).encode())
    bridge = server(t, Listener(t, collect).address)
    c = client(t)
    for n in (5000, 1, 100000):  # the first is cold
        early = os.urandom(n)
        s = connect(c.socks)
        hello = b"\5\1\2" + credentials(bridge.args) + request((bridge.host, bridge.port))
        s.sendall(hello + early)
        assert exactly(s, 4) == b"\5\2\1\0"
        assert read_reply(s) == 0
        s.sendall(b"later")
        s.shutdown(socket.SHUT_WR)
        assert to_end(s) == str(n + 5).encode()
        assert got.pop() == early + b"later" and not got
    # An end behind early bytes is a half-close, at a client that is cold too.
    for n in (1, 100, 5000):
        s = connect(client(t).socks)
        s.sendall(b"\5\1\2" + credentials(bridge.args) + request((bridge.host, bridge.port))
                  + bytes(n))
        s.shutdown(socket.SHUT_WR)
        assert to_end(s)[14:] == str(n).encode()
        assert got.pop() == bytes(n) and not got


@test("49", "first bytes that are only a part of what the target waits for")
def in_parts(t):
    def answer_whole(s, peer):
        data = exactly(s, 20)
        s.sendall(data)
    bridge = server(t, Listener(t, answer_whole).address)
    c = client(t)
    hello = b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03"  # a ClientHello's begin
    slow = []
    for first in (b"EHLO exam", hello):
        for wait in (0, 0.5):
            s = through(c, bridge)
            start = time.monotonic()
            s.sendall(first)
            time.sleep(wait)
            rest = bytes(20 - len(first))
            s.sendall(rest)
            assert exactly(s, 20) == first + rest
            if time.monotonic() - start > 8:
                slow.append((first, wait))
    assert not slow, f"8 s and more, since the open was held: {slow}"


@test("51", "an app that hangs up during the dial ends the dial")
def hang_up(t):
    gone = []

    def silent(s, peer):
        gone.append(peer)
        to_end(s)
        gone.remove(peer)
    mute = Listener(t, silent)
    c = client(t)
    for reset in (False, True):
        s = socks_start(c, GOOD_KEY.replace("A", "Q"))
        s.sendall(request(mute.address))
        until(lambda: gone, "the dial")
        fds = len(c.descriptors())
        if reset:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
        until(lambda: not gone, "the end of the dial")
        until(lambda: len(c.descriptors()) < fds, "the descriptors")


# ---- Extended ORPort ----

@test("64 65 66 67 68 69", "the Extended ORPort")
def ext_orport(t):
    orport = ExtOrPort(t)
    bridge = server(t, **orport.environment())
    c = client(t)

    def one(at=bridge):
        s = through(c, at)
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        return orport.clients[-1]
    address, transport = one()
    assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", address) and transport == "sultry", orport.clients
    orport.new_cookie()
    one()
    orport.answer = "other"
    one()
    both = server(t, TOR_PT_SERVER_BINDADDR="sultry-[::]:0", **orport.environment())
    both.host = "127.0.0.1"
    assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", one(both)[0]), "a v4-mapped address"
    both.host = "::1"
    assert re.fullmatch(r"\[::1\]:[1-9]\d*", one(both)[0]), orport.clients[-1]
    # What the app says waits for OKAY.
    orport.go.clear()
    n = len(orport.clients)
    s = socks_start(c, bridge.args)
    s.sendall(request((bridge.host, bridge.port)) + b"early")
    until(lambda: len(orport.clients) > n, "the commands")
    time.sleep(0.4)
    orport.go.set()
    assert read_reply(s) == 0 and exactly(s, 5) == b"early"


@test("63 64 65 67 70", "an Extended ORPort that refuses, lies, or says nothing")
def bad_ext_orport(t):
    orport = ExtOrPort(t)
    for answer, cookie, why in (("deny", 32, "denied"), ("liar", 32, "does not know the cookie"),
                                ("mute", 32, "did not answer in time"),
                                ("unread", 31, "holds no cookie"),
                                ("unread", 0, "cannot be opened")):
        # A client of its own for each, which is cold.
        orport.answer = answer
        if cookie == 31:
            with open(orport.file, "wb") as f:
                f.write(b"! Extended ORPort Auth Cookie !\n" + bytes(31))
        if cookie == 0:
            os.unlink(orport.file)
        bridge, c = server(t, **orport.environment()), client(t)
        got = socks(c, (bridge.host, bridge.port), bridge.args)
        assert got == 1, f"{answer}: REP {got}"
        c.warned("target_failed")
        bridge.warned(why)
    assert len(orport.clients) == 2, orport.clients


@test("70", "the Extended ORPort's five seconds are for all of it")
def slow_ext_orport(t):
    took = []

    def slow(s, peer):
        del peer
        start = time.monotonic()
        s.settimeout(0.5)
        for b in b"\x05\x01\x09\x0a\x0b" + bytes(range(12, 80)):
            s.sendall(bytes([b]))
            with contextlib.suppress(TimeoutError):
                assert s.recv(1) == b"", "it answers before all is said"
                break
        took.append(time.monotonic() - start)
    orport = ExtOrPort(t)
    slow_one = Listener(t, slow)
    bridge = Program(t, "server", {**orport.environment(), "TOR_PT_EXTENDED_SERVER_PORT":
                                   "127.0.0.1:%d" % slow_one.address[1]}).ready()
    m = bridge.line(r"SMETHOD sultry 127\.0\.0\.1:(\d+) ARGS:(.*)")
    c = client(t)
    assert socks(c, ("127.0.0.1", int(m[1])), m[2].replace(",", ";")) == 1
    c.warned("the bridge says target_failed")  # it was not the client that gave up
    until(lambda: took, "its end")
    assert 4 < took[0] < 5.5 + SLOW, f"{took[0]} s"
