#!/usr/bin/env python3
"""Computes direct.json a second time, from spec/protocol.md and without Sultry's code.

Needs Debian's python3-cryptography. Run it in this folder; it prints what differs."""
import base64
import hashlib
import hmac
import json
import struct
import sys

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(salt, ikm, info, n):
    prk, out, block, i = mac(salt or bytes(32), ikm), b"", b"", 1
    while len(out) < n:
        block = mac(prk, block + info + bytes([i]))
        out, i = out + block, i + 1
    return out[:n]


def seal(key, n, aad, text):
    return ChaCha20Poly1305(key).encrypt(bytes(4) + struct.pack("<Q", n), text, aad)


def public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(
        Encoding.Raw, PublicFormat.Raw)


def dh(secret, point):
    return X25519PrivateKey.from_private_bytes(secret).exchange(
        X25519PublicKey.from_public_bytes(point))


def handshake(v):
    """Noise_NK: <- s; -> e, es; <- e, ee."""
    x = {k: bytes.fromhex(s) for k, s in v.items() if k != "prologue"}
    h = ck = b"Noise_NK_25519_ChaChaPoly_SHA256"
    h = sha256(h, v["prologue"].encode())
    h = sha256(h, public(x["server_secret"]))
    out = {"server_public": public(x["server_secret"])}
    for name, payload, e, secret, point in (
            ("message_1", x["payload_1"], x["client_ephemeral_secret"],
             x["client_ephemeral_secret"], public(x["server_secret"])),
            ("message_2", x["payload_2"], x["server_ephemeral_secret"],
             x["server_ephemeral_secret"], public(x["client_ephemeral_secret"]))):
        h = sha256(h, public(e))
        okm = hkdf(ck, dh(secret, point), b"", 64)
        ck, key = okm[:32], okm[32:]
        box = seal(key, 0, h, payload)
        h = sha256(h, box)
        out[name] = public(e) + box
    okm = hkdf(ck, b"", b"", 64)
    out.update(hash=h, key_up=okm[:32], key_down=okm[32:],
               direct_secret=hkdf(h, ck, b"sultry direct v1", 32))
    return {**v, **{k: b.hex() for k, b in out.items()}}


def padding(key):
    okm = hkdf(b"", key, b"sultry padding v1", 26)
    v = struct.unpack(">13H", okm)
    return {"up": [400 + x % 801 for x in v[:6]], "down": [400 + x % 2601 for x in v[6:12]],
            "spread": 160 + v[12] % 160}


def frame(kind, body):
    return struct.pack(">BH", kind, len(body)) + body


def record(key, n, frames, tag, size):
    text = frames.ljust(size - 16 - len(tag), b"\0")
    header = b"\x17\x03\x03" + struct.pack(">H", size)
    return {"n": n, "frames": text.hex(), "record": (header + tag + seal(key, n, header, text)).hex()}


def epoch(secret, e, pad):
    okm = hkdf(b"", secret, b"sultry epoch v1" + struct.pack(">I", e), 80)
    tag, up, down = okm[:16], okm[16:48], okm[48:]
    hello = (frame(1, struct.pack(">QQB", 4096, 266240, 0)) +
             frame(3, struct.pack(">Q", 517) + b"first bytes"))
    accept = (frame(2, struct.pack(">QQ", 528, 262672)) +
              frame(3, struct.pack(">Q", 4096) + b"answer") + frame(5, struct.pack(">Q", 4102)))
    more = (frame(4, struct.pack(">QQ", 4103, 266246)) + frame(6, bytes(range(1, 9))) +
            frame(7, bytes(range(17, 25))) + frame(8, b"\x02"))
    return {"epoch": e, "tag": tag.hex(), "key_up": up.hex(), "key_down": down.hex(),
            "hello": record(up, 0, hello, tag, pad["up"][0]),
            "accept": record(down, 0, accept, b"", pad["down"][0]),
            "second_up": record(up, 1, more, b"", pad["up"][1])}


def main():
    with open("direct.json") as f:
        theirs = json.load(f)
    shake = handshake(theirs["handshake"])
    key = bytes.fromhex(shake["server_public"])
    path = base64.urlsafe_b64encode(sha256(b"sultry path v1", key))[:22].decode()
    pad = padding(key)
    ours = {"handshake": shake, "base_path": "/" + path, "padding": pad,
            "epochs": [epoch(bytes.fromhex(shake["direct_secret"]), e, pad)
                       for e in (0, 0x01020304)]}
    bad = [k for k in {**ours, **theirs} if ours.get(k) != theirs.get(k)]
    print("differs: " + ", ".join(bad) if bad else "direct.json is right")
    sys.exit(1 if bad else 0)


main()
