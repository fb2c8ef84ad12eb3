#!/usr/bin/env python3
"""Holds a real server against spec/protocol.md, by means of specclient.py.

    interop.py SERVER SPEC_DIR TEMPORARY_DIR

Each function named check_* is one claim of the specification; the numbers in
its docstring are the sections. The exit status is 1 if anything is wrong.
"""
import contextlib
import json
import random
import socket
import ssl
import struct
import sys
import time

from interop_world import POOL, TOKEN, World, exactly, to_end
from openapi import Api
from specclient import (ACCEPT, ACK, CLOSE, CREDIT, DATA, FIN, HELLO, PING, PONG, SEEN, TIMEOUT,
                        Direct, Handshake, Padding, Session, b64, base_path, clock, compact,
                        epoch_keys, frame, seal)


# ---- keys, handshake, API ----

def check_vectors(w):
    """2, 3.1, 7: the vectors"""
    with open(w.spec + "/vectors/direct.json") as f:
        v = json.load(f)
    fixed, unhex = v["handshake"], bytes.fromhex
    server = unhex(fixed["server_public"])
    shake = Handshake(server, unhex(fixed["client_ephemeral_secret"]))
    assert shake.write(unhex(fixed["payload_1"])).hex() == fixed["message_1"]
    assert shake.read(unhex(fixed["message_2"])).hex() == fixed["payload_2"]
    assert shake.h.hex() == fixed["hash"] and shake.direct.hex() == fixed["direct_secret"]
    assert [shake.k_up.hex(), shake.k_down.hex()] == [fixed["key_up"], fixed["key_down"]]
    assert base_path(server) == v["base_path"] and vars(Padding(server)) == v["padding"]
    for e in v["epochs"]:
        tag, up, down = epoch_keys(shake.direct, e["epoch"])
        assert [k.hex() for k in (tag, up, down)] == [e["tag"], e["key_up"], e["key_down"]]
        for name, key, tag in (("hello", up, tag), ("accept", down, b""), ("second_up", up, b"")):
            record, frames = unhex(e[name]["record"]), unhex(e[name]["frames"])
            sealed = seal(key, e[name]["n"], record[:5], frames)
            assert record == record[:5] + tag + sealed, name
            assert record[:3] == b"\x17\x03\x03" and len(record) == 5 + len(tag + sealed)


def check_unknown(w):
    """4.1: all that is not authentic gets the 404 of an unknown path, byte for byte"""
    s, t = w.session(bridge=w.plain)
    plain, good = w.plain, json.loads(s.open_body)
    unknown = plain.request("GET", "/nothing-here")
    assert unknown[0] == 404
    noise = good["noise"]
    flipped = noise[:200] + ("A" if noise[200] != "A" else "B") + noise[201:]
    bodies = [b"", b"{", b"[]", b"{}", b"null", compact({"v": 1}), compact({"v": 1, "noise": ""}),
              compact({"v": 1, "noise": "A"}), compact({"v": 1, "noise": "AAAA"}),
              compact({"v": 1, "noise": noise + "="}), compact({"v": 1, "noise": flipped}),
              compact({"v": 2, "noise": noise}), compact({"noise": noise}),
              compact({"v": 1, "noise": 1}), compact({"v": 1, "noise": b64(bytes(200))}),
              s.open_body[:-1] + b',"v":1}', s.open_body + b"x"]
    for body in bodies:
        assert plain.post(plain.base, body) == unknown, body[:60]
    n, box = s.box()
    for path, body in ((s.path()[:-1] + "_", box), (plain.base + "/x", box), (s.path() + "/", box),
                       (plain.base + "/", box), (plain.base, box), (s.path(), s.open_body),
                       (s.path(), box.replace(b'"n":%d' % n, b'"n":%d' % (n + 1))),
                       (s.path(), box.replace(b'"n":%d' % n, b'"n":-1'))):
        assert plain.post(path, body) == unknown, (path, body[:60])
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        assert plain.request(method, plain.base) == unknown, method
    assert s.post((n, box))[0]["up_ack"][0] == 0, "the session did not survive"
    t.close()


def check_open(w):
    """5.3: the fields of opened"""
    for bridge in (w.plain, w.split):
        s, t = w.session(bridge=bridge)
        session = s.header.pop("session")
        assert len(session) == 22 and s.first == b""
        assert s.header == {"up_ack": [0, CREDIT], "down": 0, "fin": False, "direct": [],
                            "retain_s": 600}, s.header
        assert bridge.alive(session) is True
        t.close()
    assert w.split.alive("A" * 22) is False


def check_open_with_data(w):
    """4.5: an open with bytes is answered with what the target answers"""
    s, t = w.session(b"hello?")
    assert s.first == b"hi" and s.header["down"] == 0 and not s.header["fin"]
    assert s.header["up_ack"][0] == 6 and s.header["up_ack"][1] >= CREDIT
    t.close()


def check_open_twice(w):
    """4.3: copies join, are told the same, and are unknown after the first exchange"""
    s = Session(w.split, b"twice")
    copies = [POOL.submit(s.post_open) for _ in range(4)]
    t = w.target.accept()
    assert exactly(t, 5) == b"twice"
    t.sendall(b"once")
    replies = [c.result(TIMEOUT) for c in copies] + [s.post_open()]
    assert replies.count(replies[0]) == 5, "copies of an open were told different things"
    first = s.opened(replies[0])
    assert b"once".startswith(first)  # all of it, unless the target took its time
    s.exchange(down_ack=[len(first), CREDIT])
    assert s.post_open() == w.split.request("GET", "/nothing-here")
    t.sendall(b"end")
    t.close()
    # It was one connection to the target: the next belongs to the next session.
    w.session()[1].close()


def check_time(w):
    """4.3: the clock of an open"""
    now = clock()
    started = int(1000 * w.servers[1].started)
    for wrong in (now - 121000, now + 1000, started - 1, 0):
        header, data, _ = w.split.ask({"op": "open", "time": wrong, "up": 0})
        assert set(header) == {"error", "time"} and data == b""
        assert header["error"]["code"] == "clock_skew" and abs(header["time"] - now) < 60000
    header, *_ = w.split.ask({"op": "status", "time": 0, "session": "A" * 22})
    assert header == {"alive": False}, "status does not look at the clock"


def check_errors(w):
    """5.5, 5.6"""
    now = clock()
    target = {"host": "example.com", "port": 443}
    for header, data, code in (
            ({"op": "open", "time": now, "up": 0, "target": target}, b"", "target_denied"),
            ({"op": "resolve", "time": now, "host": "example.com"}, b"", "unsupported"),
            ({"op": "nonsense", "time": now}, b"", "bad_request"),
            ({"op": "open", "up": 0}, b"", "bad_request"),
            ({"op": "open", "time": now, "up": 1}, b"", "bad_request"),
            ({"op": "open", "time": now, "up": 0}, bytes(32769), "bad_request"),
            ({"op": "open", "time": now, "up": 0, "target": {"host": "", "port": 1}}, b"",
             "bad_request"),
            ({"op": "open", "time": str(now), "up": 0}, b"", "bad_request"),
            ({"op": "status", "time": now, "session": "A"}, b"", "bad_request"),
            ({"op": "status", "time": now, "session": "A" * 22}, b"x", "bad_request"),
            ({"op": "exchange", "time": now}, b"", "bad_request")):
        reply, rest, _ = w.split.ask(header, data)
        assert set(reply) == {"error"} and set(reply["error"]) == {"code", "message"}
        assert reply["error"]["code"] == code and rest == b"", (header, reply)
    s, t = w.session()
    for wrong in ({"op": "open"}, {"up": -1}, {"up": 1 << 62}, {"epoch": 1 << 31},
                  {"wait_ms": 60001}, {"fin": 0}, {"poll": None}, {"close": "later"},
                  {"down_ack": [0]}, {"down_ack": [0, -1]}, {"up_limit": ...}, {"close": ...},
                  {"data": bytes(131073)}):
        header, rest = s.post_box(s.box(**wrong)[1])
        assert header["error"]["code"] == "bad_request" and rest == b"", (wrong, header)
    s.exchange(bytes(131072))
    t.close()
    s = Session(w.dead)
    first = s.post_open()
    reply, _ = w.dead.answer(s.shake, first)
    assert reply["error"]["code"] == "target_refused"
    again = s.post_open()
    assert again[0] == 200 and again[-1] == first[-1], "a copy of a refused open is told the same"


def check_relay_opens(w):
    """5.2, 5.3: a relay reaches the target that open names, and tells at which address"""
    port = w.target.address[1]
    for host in ("127.0.0.1", "localhost", "LOCALHOST"):
        target = {"host": host, "port": port}
        s, t = w.session(b"hello?", w.relay, token=TOKEN, target=target)
        assert s.header["target"] == {"address": "127.0.0.1", "port": port}, s.header
        assert s.first == b"hi"
        d = Direct(s, 0)
        d.connect().sock.sendall(d.hello(frame(DATA, 6, b" there"), ack=(2, CREDIT)))
        assert w.next(d)[0] == ACCEPT and exactly(t, 6) == b" there"
        d.close()
        t.close()


def check_relay_resolves(w):
    """5.2, 5.3: addresses that this client may reach, and no others"""
    header, data, _ = w.relay.ask({"op": "resolve", "time": 0, "host": "localhost",
                                   "token": TOKEN})
    assert header.pop("ttl") in range(86401) and data == b""
    assert header == {"addresses": ["127.0.0.1"]}, header


def check_relay_refuses(w):
    """5.2, 5.5: the access list and the token, in open and in resolve"""
    port, now = w.target.address[1], clock()
    good = {"op": "open", "time": now, "up": 0, "token": TOKEN,
            "target": {"host": "127.0.0.1", "port": port}}
    resolve = {"op": "resolve", "time": now, "host": "localhost", "token": TOKEN}
    for base, change, code in (
            (good, {"token": "token-of-nobody-at-all"}, "unauthorized"),
            (good, {"token": TOKEN + "x"}, "unauthorized"),
            (good, {"token": TOKEN[:-1]}, "unauthorized"),
            (good, {"token": ...}, "unauthorized"),
            (good, {"token": ""}, "bad_request"),
            (good, {"token": 65 * "x"}, "bad_request"),
            (good, {"target": {"host": "127.0.0.1", "port": port ^ 1}}, "target_denied"),
            (good, {"target": {"host": "127.0.0.2", "port": port}}, "target_denied"),
            (good, {"target": {"host": "::ffff:127.0.0.2", "port": port}}, "target_denied"),
            (good, {"target": {"host": "10.0.0.1", "port": 443}}, "target_denied"),
            (good, {"target": {"host": "127.0.0.1"}}, "bad_request"),
            (good, {"target": "127.0.0.1:80"}, "bad_request"),
            (resolve, {"token": TOKEN + "x"}, "unauthorized"),
            (resolve, {"token": ...}, "unauthorized"),
            (resolve, {"host": ""}, "bad_request"),
            (resolve, {"host": 256 * "x"}, "bad_request")):
        request = {k: v for k, v in {**base, **change}.items() if v is not ...}
        reply, rest, _ = w.relay.ask(request)
        assert set(reply) == {"error"} and rest == b"", (change, reply)
        assert reply["error"]["code"] == code, (change, reply)
    w.target.sock.settimeout(0)
    try:
        raise AssertionError("a refused open reached the target: %s" % w.target.accept())
    except BlockingIOError:
        w.target.sock.settimeout(TIMEOUT)


# ---- exchanges ----

def check_exchange(w):
    """4.2, 4.5, 6.1: offsets, nonces, copies, gaps, a held poll"""
    s, t = w.session()
    first = s.box(b"abc")
    header, _ = s.post(first)
    assert header == {"re": 0, "up_ack": [3, header["up_ack"][1]], "down": 0, "fin": False,
                      "close": None}
    assert s.post(first)[0]["up_ack"][0] == 3, "a copy"
    gap = s.box(b"ghi", up=6, fin=True, close="done")
    assert s.post(gap)[0]["up_ack"][0] == 3, "nothing is taken over a gap"
    assert s.exchange(b"cdef", up=2)[0]["up_ack"][0] == 6, "what is new of an overlap"
    poll = POOL.submit(s.exchange, poll=True, wait_ms=20000, up=6)
    assert exactly(t, 6) == b"abcdef"
    t.sendall(b"answer")
    header, data = poll.result(TIMEOUT)
    assert (header["down"], data) == (0, b"answer")
    header, data = s.exchange(poll=True, wait_ms=20000, up=6, down_ack=[2, CREDIT])
    assert (header["down"], data) == (2, b"swer"), "what is not acknowledged comes again"
    header, data = s.exchange(up=6, down_ack=[2, CREDIT])
    assert data == b"" and header["down"] <= 6, "only a poll gets bytes"
    older = s.box(poll=True, wait_ms=20000, up=6, down_ack=[6, CREDIT])
    held = POOL.submit(s.post, s.box(poll=True, wait_ms=20000, up=6, down_ack=[6, CREDIT]))
    header, data = s.exchange(poll=True, wait_ms=0, up=6, down_ack=[6, CREDIT])
    assert data == b"" and header["down"] == 6, "wait_ms 0"
    assert held.result(TIMEOUT)[1] == b"", "one poll is held"
    assert s.post(older)[1] == b"", "a poll with a lower n is answered at once"
    t.sendall(b"more")
    assert s.post(older)[1] == b"", "and gets nothing"
    header, data = s.exchange(poll=True, wait_ms=20000, up=6, down_ack=[6, CREDIT])
    assert (header["down"], data) == (6, b"more")
    assert sorted(s.replies) == list(range(len(s.replies))), "the server's counter"
    t.close()


def check_exchange_close(w):
    """6.1, 6.5: half-closes, close, tombstone, all by oob"""
    s, t = w.session()
    assert s.exchange(b"bye", fin=True)[0]["up_ack"][0] == 4, "the end has an offset"
    assert to_end(t) == b"bye"
    assert s.exchange(b"bye", fin=True)[0]["up_ack"][0] == 4
    poll = POOL.submit(s.exchange, poll=True, wait_ms=20000, up=4)
    t.sendall(b"last")
    header, data = poll.result(TIMEOUT)
    assert data == b"last"
    t.close()
    while not header["fin"]:
        header, data = s.exchange(poll=True, wait_ms=20000, up=4)
        assert header["down"] + len(data) == 4 and data == b"last"
    header, data = s.exchange(up=4, down_ack=[5, CREDIT], close="done")
    assert header["close"] == "done"
    header, data = s.exchange(poll=True, wait_ms=20000, up=4, down_ack=[5, CREDIT], close="done")
    assert header["close"] == "done" and data == b"" and header["up_ack"][0] == 4, "a tombstone"
    assert w.split.alive(s.header["session"]) is False
    w.spliced(Direct(s, 0).hello())


def check_exchange_reset(w):
    """6.5: a reset of the target, a reset of the app"""
    s, t = w.session()
    t.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    t.sendall(b"x")
    header, data = s.exchange(poll=True, wait_ms=20000)
    t.close()
    while header["close"] is None:
        header, data = s.exchange(poll=True, wait_ms=20000, down_ack=[1, CREDIT])
    assert header["close"] == "reset"
    s, t = w.session()
    assert s.exchange(b"x", close="reset")[0]["close"] == "done"
    try:
        assert exactly(t, 2), "the end in place of a reset"
    except ConnectionResetError:
        pass
    for wrong in ({"down_ack": [9, CREDIT]}, {"up": CREDIT, "data": b"x"},
                  {"up": CREDIT + 1, "data": b"x"}):
        s, t = w.session()
        s.exchange(**wrong)
        assert s.exchange(poll=True, wait_ms=20000)[0]["close"] == "error", wrong
        t.close()


def check_credit(w):
    """6.2: a target that does not read holds the credit back; then it grows"""
    s, t = w.session()
    piece, at, limit = bytes(131072), 0, CREDIT
    while at + len(piece) <= limit and at < 64 << 20:
        header, _ = s.exchange(piece, up=at, up_limit=limit)
        at += len(piece)
        assert header["up_ack"][0] == at and header["up_ack"][1] >= limit
        limit = header["up_ack"][1]
    assert at < 64 << 20, "the credit did not end"
    more = POOL.submit(s.exchange, poll=True, wait_ms=25000, up=at, up_limit=limit)
    drained = POOL.submit(exactly, t, at)
    assert more.result(TIMEOUT)[0]["up_ack"][1] > limit, "a held poll does not bring credit"
    assert drained.result(TIMEOUT) == bytes(at)
    t.close()


# ---- direct connections ----

def check_direct(w):
    """7: a hello with data, records of the scheme's lengths, acks, PING, a TLS-like shape"""
    s, t = w.session()
    d = w.direct(s, 0, frame(DATA, 0, b"first"), received=5)
    assert exactly(t, 5) == b"first"
    d.send(frame(DATA, 5, b" and"), frame(PING, 77))
    d.send(frame(DATA, 9, b" more"), frame(ACK, 0, CREDIT))
    assert exactly(t, 9) == b" and more"
    assert w.until(d, PONG) == (77,)
    while True:
        received, limit = w.until(d, ACK)
        assert limit >= CREDIT
        if received == 14:
            break
    blob = random.randbytes(100000)
    t.sendall(blob)
    assert w.data(d, 0, len(blob)) == blob
    for i in range(8):
        d.send(frame(ACK, len(blob) + i, len(blob) + CREDIT))
        t.sendall(b"%d" % i)
        assert w.data(d, len(blob) + i, 1) == b"%d" % i
    assert len(d.lengths) > 12 and max(d.lengths) <= 16401
    assert len(set(d.lengths[-8:])) > 1, "short records all have one length"
    for i in range(8):
        d.send(frame(DATA, 14 + i, b"%d" % i))
    assert exactly(t, 8) == b"01234567"
    d.close()
    t.close()


def check_plain_port(w):
    """9: hellos and HTTPS on one port"""
    s, t = w.session(bridge=w.plain)
    d = Direct(s, 0)
    hello = d.hello(frame(DATA, 0, b"both"))
    d.connect().sock.sendall(hello)
    assert w.next(d)[0] == ACCEPT
    assert exactly(t, 4) == b"both"
    assert w.plain.request("GET", "/")[0] == 200
    # The same bytes again meet TLS, which answers in its own way: no ACCEPT.
    with socket.create_connection(w.plain.address, TIMEOUT) as sock:
        sock.sendall(hello)
        answer = to_end(sock)
    assert answer == b"" or answer[0] == 21, "not what TLS says: %s" % answer[:5].hex()
    d.close()
    t.close()


def check_down_owner(w):
    """6.4: what takes `down`, and what does not"""
    s, t = w.session()
    late = s.box(poll=True, wait_ms=20000)
    held = POOL.submit(s.exchange, poll=True, wait_ms=20000)
    d = w.direct(s, 0)
    assert held.result(TIMEOUT)[1] == b"", "a hello answers the held poll"
    for request in (late, s.box(poll=True, wait_ms=20000), s.box(epoch=1)):
        assert s.post(request)[1] == b"", "a late poll gets nothing, at once"
    t.sendall(b"abc")
    assert w.data(d, 0, 3) == b"abc", "the stream stays where it is"
    header, data = s.exchange(poll=True, wait_ms=20000, epoch=1)
    assert (header["down"], data) == (0, b"abc"), "a poll above the epoch takes it, from its ack"
    assert w.next(d) is None, "and cuts the direct connection"
    d = w.direct(s, 1, ack=(1, CREDIT))
    assert w.data(d, 1, 2) == b"bc", "a hello takes it back"
    d2 = w.direct(s, 2, ack=(3, CREDIT))
    assert w.next(d) is None, "a newer hello cuts the older connection"
    t.sendall(b"d")
    assert w.data(d2, 3, 1) == b"d"
    # E is 3: 3 to 10 are known.
    w.spliced(Direct(s, 11).hello())
    d = w.direct(s, 10, ack=(4, CREDIT))
    w.spliced(Direct(s, 5).hello())
    w.spliced(Direct(s, 10).hello())
    assert s.exchange(poll=True, wait_ms=0, epoch=30, down_ack=[4, CREDIT])[1] == b""
    w.spliced(Direct(s, 18).hello())
    w.direct(s, 37, ack=(4, CREDIT)).close()
    t.close()


def check_hello_bytes(w):
    """9, 7.3: each byte of a hello counts, none burns the epoch, and it works once"""
    s, t = w.session()
    d = Direct(s, 0)
    hello = d.hello(frame(DATA, 0, b"original"))
    for i in range(len(hello)):
        wrong = bytearray(hello)
        wrong[i] ^= 1 << random.randrange(8)
        w.spliced(bytes(wrong), fin=True)
    for cut in (1, 4, 5, 20, 21, len(hello) - 1):
        w.spliced(hello[:cut], fin=True)
    # No more is waited for but behind a tag that is known.
    for start in (b"\x16", b"\x17", b"\x17\x03\x03\x02\x00", hello[:20], b"\x17\x02", b"\x17\x03\x04", b"\x17\x03\x03\x05",
                  b"\x17\x03\x03\x04\xb1", b"\x17\x03\x03\x00\x20",
                  b"\x17\x03\x03\x02\x00" + bytes(16), b"GET / HTTP/1.0\r\n"):
        w.spliced(start)
    d = w.direct(s, 0, frame(DATA, 0, b"original"), received=8)
    assert exactly(t, 8) == b"original"
    w.spliced(hello)
    d.send(frame(PING, 5))
    assert w.until(d, PONG) == (5,), "a replay harmed the original's connection"
    d.close()
    t.close()


def check_hello_split(w):
    """9: a hello may come in pieces behind its tag, and more may come with it"""
    s, t = w.session()
    d = Direct(s, 0)
    data = d.hello(frame(DATA, 0, b"one")) + d.record(frame(DATA, 3, b"two"))
    d.connect()
    d.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    d.sock.sendall(data[:21])
    for i in range(21, len(data)):
        d.sock.sendall(data[i:i + 1])
    with w.web.accept() as fallback:
        assert to_end(fallback) == b""
    assert exactly(t, 6) == b"onetwo"
    assert w.next(d)[0] == ACCEPT
    d.close()
    t.close()


def check_violations(w):
    """7.5: each cuts the connection, and only that"""
    s, t = w.session()
    bad_key = bytes(32)

    def sealed(d, *frames):
        return d.record(*frames)

    def flipped(d):
        record = bytearray(sealed(d, frame(PING, 1)))
        record[-1] ^= 1
        return bytes(record)

    def foreign(d):
        d.key_up = bad_key
        return sealed(d, frame(PING, 1))

    violations = [
        lambda d: b"\x16" + sealed(d, frame(PING, 1))[1:],
        lambda d: b"\x17\x03\x03\x40\x12" + bytes(16402),
        lambda d: b"\x17\x03\x03\x00\x10" + bytes(16),
        flipped, foreign,
        lambda d: sealed(d, frame(HELLO, 0, CREDIT, b"\0")),
        lambda d: sealed(d, frame(ACCEPT, 0, CREDIT)),
        lambda d: sealed(d, frame(9, 0)),
        lambda d: sealed(d, frame(DATA, 0)),
        lambda d: sealed(d, frame(DATA, 1, b"gap")),
        lambda d: sealed(d, frame(DATA, CREDIT, b"x")),
        lambda d: sealed(d, frame(FIN, 1)),
        lambda d: sealed(d, frame(FIN, 0, b"x")),
        lambda d: sealed(d, frame(ACK, 1, CREDIT)),
        lambda d: sealed(d, frame(ACK, 0)),
        lambda d: sealed(d, frame(PING, b"1234567")),
        lambda d: sealed(d, frame(CLOSE, b"\0")),
        lambda d: sealed(d, frame(CLOSE, b"\4")),
    ]
    for epoch, violation in enumerate(violations):
        d = w.direct(s, epoch)
        d.sock.sendall(violation(d))
        while (got := w.next(d)) is not None:
            assert got[0] == ACK, "an answer to violation %d" % epoch
    # A first frame that is no greeting: the epoch is burnt, the connection cut.
    d = Direct(s, len(violations))
    d.connect().sock.sendall(d.record(frame(DATA, 0, b"x")))
    with w.web.accept() as fallback:
        assert to_end(fallback) == b"" and w.next(d) is None
    # The end does not move.
    d = w.direct(s, 19, frame(DATA, 0, b"alive"), frame(FIN, 5), received=6)
    assert exactly(t, 5) == b"alive" and to_end(t) == b""
    for epoch, wrong in ((20, frame(FIN, 4)), (21, frame(FIN, 6)), (22, frame(DATA, 5, b"x"))):
        d = w.direct(s, epoch, received=6)
        d.send(frame(FIN, 5), frame(DATA, 0, b"alive"))
        d.send(wrong)
        while (got := w.next(d)) is not None:
            assert got[0] == ACK
    t.close()


def check_direct_close(w):
    """6.1, 6.5: half-closes and the close on a direct connection"""
    s, t = w.session()
    d = w.direct(s, 0, frame(DATA, 0, b"ask"), frame(FIN, 3), received=4)
    assert to_end(t) == b"ask"
    t.sendall(b"answer")
    assert w.data(d, 0, 6) == b"answer"
    t.close()
    assert w.until(d, FIN) == (6,)
    d.send(frame(ACK, 7, CREDIT))
    d.send(frame(CLOSE, b"\1"))
    while w.next(d) is not None:
        pass
    assert w.split.alive(s.header["session"]) is False
    s, t = w.session()
    d = w.direct(s, 0, frame(DATA, 0, b"x"), received=1)
    t.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exactly(t, 1)
    t.sendall(b"yz")
    assert w.data(d, 0, 2) == b"yz"
    t.close()
    assert w.until(d, CLOSE) == (2,), "a reset"
    d.close()


def check_tls(w):
    """1, 4.5, 8: a real TLS handshake by oob, what it is for by a direct connection"""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(w.tmp + "/target.crt", w.tmp + "/target.key")

    def serve(sock):
        with tls.wrap_socket(sock, server_side=True) as inner:
            while data := inner.recv(4096):
                inner.sendall(data.upper())

    ctx = ssl._create_unverified_context()
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    app = ctx.wrap_bio(into, out)
    with contextlib.suppress(ssl.SSLWantReadError):
        app.do_handshake()
    up = out.read()
    s = Session(w.split, up)
    reply = POOL.submit(s.post_open)
    target = POOL.submit(serve, w.target.accept())
    down = s.opened(reply.result(TIMEOUT))
    assert down[0] == 22 and down[5] == 2, "a ServerHello"
    sent, got = len(up), 0
    while True:
        into.write(down)
        got += len(down)
        try:
            app.do_handshake()
            break
        except ssl.SSLWantReadError:
            _, down = s.exchange(poll=True, wait_ms=20000, up=sent, down_ack=[got, got + CREDIT])
    app.write(b"whisper")
    up = out.read()
    # Bytes that the poll's answer brought and nobody acknowledged come again; so would these.
    d = w.direct(s, 0, frame(DATA, sent, up), ack=(got, got + CREDIT),
                 received=sent + len(up))
    while True:
        kind, *fields = w.next(d)
        if kind != DATA:
            continue
        assert fields[0] == got
        got += len(fields[1])
        into.write(fields[1])
        with contextlib.suppress(ssl.SSLWantReadError):
            assert app.read() == b"WHISPER"
            break
    d.send(frame(CLOSE, b"\2"))
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        target.result(TIMEOUT)
    d.close()


def check_schemas(w):
    """5, oob-api.yaml: it has said the same of every message that passed here as the server"""
    api, seen = Api(w.spec + "/oob-api.yaml"), set()
    asked = {"open": "OpenHeader", "status": "StatusHeader", "resolve": "ResolveHeader"}
    replied = {"error": "ErrorHeader", "session": "OpenedHeader", "re": "ExchangedHeader",
               "addresses": "ResolvedHeader", "alive": "AliveHeader"}
    limits = {"OpenHeader": 32768, "ExchangeHeader": 131072}
    for request, n, reply in SEEN:
        name = next(replied[key] for key in replied if key in reply)
        assert api.takes(name, reply), (name, reply)
        bad = reply.get("error", {}).get("code") == "bad_request"
        boxed = "epoch" in request
        kind = "ExchangeHeader" if boxed else asked.get(request["op"])
        good = kind is not None and n <= limits.get(kind, 0) and api.takes(kind, request)
        assert good != bad, (kind, request, n, reply)
        seen |= {name, (kind, good)}
    assert set(replied.values()) <= seen, "replies of each kind"
    assert {(kind, good) for kind in [*asked.values(), "ExchangeHeader"]
            for good in (True, False)} <= seen, "good and bad requests of each kind"


def main():
    program, spec, tmp = sys.argv[1:]
    start = time.monotonic()
    w = World(program, spec, tmp)
    bad = 0
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            try:
                check(w)
                print("%5.1f s  %s: %s" % (time.monotonic() - start, name[6:], check.__doc__))
            except Exception:
                bad += 1
                print("WRONG: %s: %s" % (name[6:], check.__doc__))
                sys.excepthook(*sys.exc_info())
    for server in w.servers:
        server.stop()
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
