#!/usr/bin/env python3
"""Checks what a censor, or a CDN, can read in the recordings of hop.py.

    wire.py direct DIR [--absent TEXT] [--least-down BYTES]
        The wire in front of the bridge: every connection is HTTPS (oob) or
        nothing but sealed records (direct), and at least BYTES came down on
        direct connections.
    wire.py raw-tor DIR
        The control: a recording of Tor without a transport must fail every
        check that can see it. A check that passes it would prove nothing.
    wire.py oob DIR [--absent TEXT]
        The plaintext inside HTTPS: sealed JSON that shows no ClientHello and
        none of the texts.

TEXT are names and addresses that only the two ends may know. The exit status
is 1 if anything is wrong, and each wrong thing is printed.
"""
import argparse
import base64
import collections
import glob
import json
import math
import os
import re
import sys

from hop import read_recording

MAX_BODY = 16384 + 17
MAX_HELLO = 1200
CELL = 514
# The chance that a bridge without any pattern is blamed for one.
ALPHA = 1e-5

# A ClientHello without its record header: length below 65536, legacy_version
# of SSL 3 to TLS 1.2, random; client_hello_in() looks at the rest.
CLIENT_HELLO = re.compile(rb"\x01\x00..\x03[\x00-\x03].{32}", re.DOTALL)
# The first bytes of any X.509 v3 certificate, of 256 bytes to 64 KiB.
CERTIFICATE = re.compile(rb"\x30\x82..\x30\x82..\xa0\x03\x02\x01\x02", re.DOTALL)
# The made-up server names of Tor's own ClientHello.
TOR_SNI = re.compile(rb"www\.[a-z2-7]{4,25}\.(com|net)")


class Connection:
    def __init__(self, name, events):
        self.name = name
        self.up = bytearray()
        self.down = bytearray()
        self.reads = {"up": [], "down": []}
        self.reset = False
        for _, kind, data in events:
            if kind == b"u":
                self.up += data
                self.reads["up"].append(len(data))
            elif kind == b"d":
                self.down += data
                self.reads["down"].append(len(data))
            elif kind == b"R":
                self.reset = True

    def kind(self):
        if not self.up and not self.down:
            return "idle"
        if self.up[:2] == b"\x16\x03":
            return "oob"
        if self.up[:3] == b"\x17\x03\x03":
            return "direct"
        return "other"


def load(folder):
    paths = sorted(glob.glob(os.path.join(folder, "*.rec")))
    return [Connection(os.path.basename(p), read_recording(p)) for p in paths]


def records(data):
    """([(type, version, length)], bytes that are left of a record cut short)"""
    found, at = [], 0
    while at + 5 <= len(data):
        length = int.from_bytes(data[at + 3:at + 5], "big")
        if at + 5 + length > len(data):
            break
        found.append((data[at], bytes(data[at + 1:at + 3]), length))
        at += 5 + length
    return found, len(data) - at


def client_hello_in(data):
    for match in CLIENT_HELLO.finditer(data):
        at = match.end()
        if at >= len(data) or data[at] > 32:
            continue
        at += 1 + data[at]
        suites = int.from_bytes(data[at:at + 2], "big")
        if suites and suites % 2 == 0 and data[at + 2 + suites:at + 4 + suites] == b"\x01\x00":
            return True
    return False


def shown(data, absent):
    """What a reader of these bytes learns that it must not."""
    found = []
    if client_hello_in(data):
        found.append("a ClientHello")
    if CERTIFICATE.search(data):
        found.append("a certificate")
    if TOR_SNI.search(data):
        found.append("Tor's server name")
    found += ["the text '%s'" % t for t in absent if t.encode() in data]
    return found


def cell_pattern(lengths):
    """Do lengths follow Tor's cells? Returns (residue, [lengths]) or None.

    Tor's own records are 514n+17 bytes; wrapped one by one they are 514n+c
    for some c. So the test is whether the different lengths that were seen
    fall into one class modulo 514 more often than chance explains (binomial,
    corrected for the 514 classes tried). Each length counts once: a flood of
    full records, or of equal acknowledgements, neither hides nor makes a
    pattern. The 20 most frequent are looked at by themselves too, since a
    thousand odd lengths would hide them.
    """
    counted = collections.Counter(lengths)
    for different in (list(counted), [n for n, _ in counted.most_common(20)]):
        classes = collections.defaultdict(list)
        for length in different:
            classes[length % CELL].append(length)
        residue, members = max(classes.items(), key=lambda item: len(item[1]), default=(0, []))
        if CELL * at_least(len(members), len(different), 1 / CELL) < ALPHA:
            return residue, sorted(members)
    return None


def at_least(k, n, p):
    """The chance of k or more hits in n throws, each a hit with chance p."""
    return sum(math.exp(math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
                        + i * math.log(p) + (n - i) * math.log1p(-p))
               for i in range(k, n + 1))


def check_direct(conn, absent):
    """What is wrong with one connection that should be direct."""
    wrong = []
    for way, data in (("up", conn.up), ("down", conn.down)):
        found, left = records(data)
        for number, (kind, version, length) in enumerate(found):
            if kind != 0x17 or version != b"\x03\x03":
                wrong.append("%s: record %d begins %02x %s"
                             % (way, number, kind, version.hex(" ")))
                break
            if not 0 < length <= MAX_BODY:
                wrong.append("%s: record %d has %d bytes" % (way, number, length))
        # Only a reset may cut a record short.
        if left and not conn.reset:
            wrong.append("%s: %d bytes at the end are no whole record" % (way, left))
        if not found:
            wrong.append("%s: no record" % way)
        wrong += ["%s: shows %s" % (way, what) for what in shown(data, absent)]
    first = int.from_bytes(conn.up[3:5], "big")
    if first > MAX_HELLO:
        wrong.append("up: the first record has %d bytes" % first)
    return wrong


def lengths_of(conns, way):
    return [length for conn in conns for kind, _, length in records(getattr(conn, way))[0]
            if kind == 0x17]


def check_lengths(conns):
    """The lengths of records, and of what arrived at once: an inner record that
    is only split shows in the sum."""
    wrong = []
    for way in ("up", "down"):
        reads = [length for conn in conns for length in conn.reads[way]]
        for what, lengths in (("record", lengths_of(conns, way)), ("read", reads)):
            print("%s: %d %ss of %d lengths" % (way, len(lengths), what, len(set(lengths))))
            if pattern := cell_pattern(lengths):
                residue, members = pattern
                wrong.append("%s: %d lengths of %ss are 514n+%d: %s"
                             % (way, len(members), what, residue, members[:8]))
    return wrong


def run_direct(conns, args):
    wrong = []
    by_kind = collections.defaultdict(list)
    for conn in conns:
        by_kind[conn.kind()].append(conn)
    print(", ".join("%d %s" % (len(c), kind) for kind, c in sorted(by_kind.items())))
    for conn in by_kind["other"]:
        wrong.append("%s: begins %s" % (conn.name, conn.up[:8].hex(" ") or "with the bridge"))
    for conn in by_kind["oob"]:
        wrong += ["%s: shows the text '%s'" % (conn.name, t) for t in args.absent
                  if t.encode() in conn.up or t.encode() in conn.down]
    for conn in by_kind["direct"]:
        wrong += ["%s: %s" % (conn.name, w) for w in check_direct(conn, args.absent)]
    wrong += check_lengths(by_kind["direct"])
    down = sum(len(conn.down) for conn in by_kind["direct"])
    if not by_kind["oob"]:
        wrong.append("no oob connection")
    if down < max(args.least_down, 1):
        wrong.append("only %d bytes came down on direct connections" % down)
    return wrong


def run_raw_tor(conns, _args):
    busy = [conn for conn in conns if conn.kind() != "idle"]
    missed = []
    for way in ("up", "down"):
        pattern = cell_pattern(lengths_of(busy, way))
        print("%s: %s" % (way, pattern))
        if not pattern or pattern[0] != 17:
            missed.append("%s: the lengths do not show 514n+17" % way)
    for conn in busy:
        text = " ".join(check_direct(conn, []))
        for what in ("record 0 begins 16", "shows a ClientHello", "shows Tor's server name"):
            if what not in text:
                missed.append("%s: not found: %s" % (conn.name, what))
    return missed if busy else ["nothing was recorded"]


def http_messages(data):
    """Yields (first line, body) of each whole message in one direction."""
    data, at = bytes(data), 0
    while (end := data.find(b"\r\n\r\n", at)) >= 0:
        first, *lines = data[at:end].split(b"\r\n")
        fields = {k.strip().lower(): v.strip() for k, _, v in (x.partition(b":") for x in lines)}
        at, body = end + 4, b""
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            size = 1
            while size:
                line = data.find(b"\r\n", at)
                if line < 0:
                    return
                size = int(data[at:line].split(b";")[0], 16)
                body += data[line + 2:line + 2 + size]
                at = line + 2 + size + 2
        else:
            size = int(fields.get(b"content-length", 0))
            body = data[at:at + size]
            at += size
        if at > len(data):
            return
        yield first, body


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def decoded(text):
    """The bytes that base64url text stands for; none if it is not that."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        return b""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if len(text) % 4 != 1 else b""


def check_message(first, body, absent):
    """(the fields of the JSON body or [], what is wrong with it)"""
    wrong = ["a body shows " + what for what in shown(body, absent)]
    # The Host field may name the address that was dialled; the path must not.
    wrong += ["a path shows '%s'" % t for t in absent if t.encode() in first]
    if not body.startswith(b"{"):
        return [], wrong
    message = json.loads(body)
    if extra := set(message) - {"v", "n", "noise", "box"}:
        wrong.append("unknown fields: %s" % sorted(extra))
    for text in strings(message):
        wrong += ["a decoded string shows " + what for what in shown(decoded(text), absent)]
    return list(message), wrong


def run_oob(conns, args):
    wrong, seen = [], collections.Counter()
    for conn in conns:
        for way, data in (("up", conn.up), ("down", conn.down)):
            for first, body in http_messages(data):
                fields, bad = check_message(first, body, args.absent)
                seen.update("%s in %s" % (field, way) for field in fields)
                wrong += ["%s: %s: %s" % (conn.name, way, b) for b in bad]
    print(dict(seen))
    # With nothing to read, nothing would have been checked.
    wrong += ["no %s in %s" % (field, way) for field in ("noise", "box") for way in ("up", "down")
              if not seen["%s in %s" % (field, way)]]
    return wrong


def main():
    parser = argparse.ArgumentParser(description="checks recordings of hop.py")
    parser.add_argument("what", choices=["direct", "raw-tor", "oob"])
    parser.add_argument("folder")
    parser.add_argument("--absent", action="append", default=[])
    parser.add_argument("--least-down", type=int, default=0)
    args = parser.parse_args()
    run = {"direct": run_direct, "raw-tor": run_raw_tor, "oob": run_oob}[args.what]
    wrong = run(load(args.folder), args)
    for line in wrong[:20]:
        print("WRONG: " + line)
    if len(wrong) > 20:
        print("and %d more" % (len(wrong) - 20))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
