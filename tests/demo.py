#!/usr/bin/env python3
"""Prints, side by side, what a censor could read on two recorded paths of hop.py:
demo.py PLAIN SULTRY NAME. Fails if the name shows on the second, or not on the first."""
import glob
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "e2e"))
from hop import read_recording  # noqa: E402

WIDTH = 50
HANDSHAKE = {1: "ClientHello", 2: "ServerHello", 4: "NewSessionTicket", 11: "Certificate"}


def streams(folder):
    """The bytes up and down of each connection, in the order of their start."""
    for path in sorted(glob.glob(os.path.join(folder, "*.rec"))):
        both = {b"u": b"", b"d": b""}
        for _, kind, data in read_recording(path):
            if kind in both:
                both[kind] += data
        yield both[b"u"], both[b"d"]


def records(data):
    while len(data) >= 5:
        size = int.from_bytes(data[3:5], "big")
        yield data[0], data[5:5 + size]
        data = data[5 + size:]


def describe(data, name):
    for kind, body in records(data):
        if kind == 22:
            text = HANDSHAKE.get(body[0], "handshake")
            if body[0] == 1 and name.encode() in body:
                text += ", SNI " + name
        else:
            text = {20: "ChangeCipherSpec", 21: "alert", 23: "application_data"}.get(kind, "?")
        yield "%-34s %5d bytes" % (text, len(body))


def column(up, down, name):
    lines = ["first bytes up: " + up[:8].hex(" ")]
    for arrow, data in (("->", up), ("<-", down)):
        seen = list(describe(data, name))
        lines += [arrow + " " + line for line in seen[:5]]
        if len(seen) > 5:
            lines.append("   and %d more" % (len(seen) - 5))
    return lines


def main():
    plain, sultry, name = sys.argv[1:]
    first = next(streams(plain))
    direct = [s for s in streams(sultry) if s[0][:1] == b"\x17"]
    if len(direct) != 1:
        sys.exit("there is no direct connection to show")
    left = ["PLAIN TLS", ""] + column(*first, name)
    right = ["SULTRY, the direct connection", ""] + column(*direct[0], name)
    for i in range(max(len(left), len(right))):
        cells = [(c[i] if i < len(c) else "") for c in (left, right)]
        print("%-*s | %s" % (WIDTH, cells[0], cells[1]))
    seen = b"".join(up + down for up, down in streams(sultry))
    if name.encode() not in first[0] or name.encode() in seen:
        sys.exit("the name is where it should not be")
    print("\nThe name of the site is in the ClientHello of the first, and nowhere on the second\n"
          "path, HTTPS to the bridge included: the handshake went inside that, sealed again.")


if __name__ == "__main__":
    main()
