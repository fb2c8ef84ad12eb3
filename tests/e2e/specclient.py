"""The client's half of the Sultry protocol, written from spec/protocol.md alone.

The section numbers are those of that text. Nothing here is clever: it does
what a test tells it to, one message at a time, and checks what comes back.
"""
import base64
import hashlib
import hmac
import http.client
import json
import os
import random
import socket
import ssl
import struct
import time

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.x509 import load_der_x509_certificate

TIMEOUT = 20
CREDIT = 262144
SEEN = []  # (header of a request, bytes behind it, header of the reply)
PAD, HELLO, ACCEPT, DATA, ACK, FIN, PING, PONG, CLOSE = range(9)


def clock():
    """Milliseconds since 1970."""
    return int(1000 * time.time())


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert b64(data) == text, "not the one spelling in base64url"
    return data


# ---- 2 Keys ----

def hkdf(salt, ikm, info, length):
    prk = hmac.digest(salt or bytes(32), ikm, "sha256")
    okm = block = b""
    for i in range(1, length // 32 + 2):
        block = hmac.digest(prk, block + info + bytes([i]), "sha256")
        okm += block
    return okm[:length]


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def nonce(n):
    return bytes(4) + struct.pack("<Q", n)


def seal(key, n, aad, text):
    return ChaCha20Poly1305(key).encrypt(nonce(n), text, aad)


def unseal(key, n, aad, sealed):
    return ChaCha20Poly1305(key).decrypt(nonce(n), sealed, aad)


def public_of(secret):
    return secret.public_key().public_bytes(serialization.Encoding.Raw,
                                            serialization.PublicFormat.Raw)


class Handshake:
    """2.2, the initiator."""

    def __init__(self, server, ephemeral=None):
        name = b"Noise_NK_25519_ChaChaPoly_SHA256"
        self.e = X25519PrivateKey.from_private_bytes(ephemeral or os.urandom(32))
        self.server = server
        self.ck = name
        self.h = sha256(sha256(name, b"sultry oob v1"), server)

    def _mix_dh(self, public):
        shared = self.e.exchange(X25519PublicKey.from_public_bytes(public))
        okm = hkdf(self.ck, shared, b"", 64)
        self.ck = okm[:32]
        return okm[32:]

    def write(self, payload):
        e = public_of(self.e)
        self.h = sha256(self.h, e)
        sealed = seal(self._mix_dh(self.server), 0, self.h, payload)
        self.h = sha256(self.h, sealed)
        return e + sealed

    def read(self, message):
        self.h = sha256(self.h, message[:32])
        payload = unseal(self._mix_dh(message[:32]), 0, self.h, message[32:])
        self.h = sha256(self.h, message[32:])
        okm = hkdf(self.ck, b"", b"", 64)
        self.k_up, self.k_down = okm[:32], okm[32:]
        self.direct = hkdf(self.h, self.ck, b"sultry direct v1", 32)
        return payload


def epoch_keys(direct, epoch):
    """2.3: (tag, key_up, key_down)"""
    okm = hkdf(b"", direct, b"sultry epoch v1" + struct.pack(">I", epoch), 80)
    return okm[:16], okm[16:48], okm[48:]


def base_path(server):
    return "/" + b64(sha256(b"sultry path v1", server))[:22]


class Padding:
    """3.1"""

    def __init__(self, server):
        v = struct.unpack(">13H", hkdf(b"", server, b"sultry padding v1", 26))
        self.up = [400 + x % 801 for x in v[:6]]
        self.down = [400 + x % 2601 for x in v[6:12]]
        self.spread = 160 + v[12] % 160


# ---- 5.1 Plaintexts, padded as in 3.2 ----

def compact(header):
    return json.dumps(header, separators=(",", ":")).encode()


def pack(header, data=b""):
    bare = 2 + len(compact(dict(header, pad=""))) + len(data)
    size = 512 * (max(2, bare // 512 + 1) + random.randrange(3))
    text = compact(dict(header, pad="0" * (size - bare)))
    return struct.pack(">H", len(text)) + text + data


def unpack(plain):
    """(header without pad, stream bytes); checks the padding, which only a test does."""
    length = struct.unpack(">H", plain[:2])[0]
    header = json.loads(plain[2:2 + length], object_pairs_hook=no_duplicates)
    pad = header.pop("pad")
    fewest = max(2, (len(plain) - len(pad)) // 512 + 1)
    assert pad and set(pad) == {"0"} and len(plain) % 512 == 0
    assert fewest <= len(plain) // 512 <= fewest + 2, "the padding is not 3.2's"
    return header, plain[2 + length:]


def no_duplicates(pairs):
    assert len(dict(pairs)) == len(pairs), "a key is there twice"
    return dict(pairs)


# ---- 4 The OOB API ----

class Bridge:
    """What the arguments of a bridge line say (10)."""

    def __init__(self, args, address, api=None):
        self.key = unb64(args["key"])
        self.pin = unb64(args["pin"])
        self.base = args.get("base", base_path(self.key))
        self.padding = Padding(self.key)
        self.address = address   # of the public port
        self.api = api or address

    def request(self, method, path, body=None):
        """(status, [headers but Date], body) of one request on a connection of its own."""
        conn = http.client.HTTPSConnection(*self.api, timeout=TIMEOUT,
                                           context=ssl._create_unverified_context())
        try:
            conn.connect()
            spki = load_der_x509_certificate(conn.sock.getpeercert(True)).public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            assert sha256(spki) == self.pin, "another certificate than pin="
            conn.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            reply = conn.getresponse()
            headers = [h for h in reply.getheaders() if h[0] != "Date"]
            return reply.status, headers, reply.read()
        finally:
            conn.close()

    def post(self, path, body):
        return self.request("POST", path, body)

    def one_shot(self, header, data=b""):
        """A handshake: (Handshake, body of the request)."""
        shake = Handshake(self.key)
        return shake, compact({"v": 1, "noise": b64(shake.write(pack(header, data)))})

    def ask(self, header, data=b""):
        """(header, stream bytes, Handshake)"""
        shake, body = self.one_shot(header, data)
        reply, rest = self.answer(shake, self.post(self.base, body))
        SEEN.append((header, len(data), reply.copy()))
        return reply, rest, shake

    def answer(self, shake, reply):
        return unpack(shake.read(unb64(outer(reply, {"noise"})["noise"])))

    def alive(self, session):
        header, data, _ = self.ask({"op": "status", "time": clock(), "session": session})
        assert set(header) == {"alive"} and data == b""
        return header["alive"]


def outer(reply, keys):
    status, headers, body = reply
    assert status == 200, "HTTP %d" % status
    assert dict(headers)["Content-Type"] == "application/json"
    message = json.loads(body, object_pairs_hook=no_duplicates)
    assert set(message) == keys, "the keys are %s" % sorted(message)
    return message


class Session:
    def __init__(self, bridge, data=b"", **fields):
        self.bridge = bridge
        self.header = {"op": "open", "time": clock(), "up": 0, **fields}
        self.shake, self.open_body = bridge.one_shot(self.header, data)
        self.open_bytes = len(data)
        self.boxed = {}      # what is in a body
        self.n = 0           # of the next request
        self.replies = set() # the server's numbers

    def post_open(self):
        return self.bridge.post(self.bridge.base, self.open_body)

    def opened(self, reply):
        """Takes the answer to the open: its stream bytes."""
        asked = self.header
        self.header, data = self.bridge.answer(self.shake, reply)
        SEEN.append((asked, self.open_bytes, self.header.copy()))
        return data

    def path(self):
        return self.bridge.base + "/" + self.header["session"]

    def box(self, data=b"", **fields):
        """(n, body) of the next exchange. A field of Ellipsis is left out."""
        header = {"op": "exchange", "epoch": 0, "poll": False, "up": 0, "fin": False,
                  "down_ack": [0, CREDIT], "up_limit": CREDIT, "wait_ms": 0, "close": None,
                  **fields}
        header = {key: value for key, value in header.items() if value is not ...}
        n, self.n = self.n, self.n + 1
        sealed = seal(self.shake.k_up, n, b"", pack(header, data))
        body = compact({"v": 1, "n": n, "box": b64(sealed)})
        self.boxed[body] = header, len(data)
        return n, body

    def post(self, request):
        """The reply to an exchange: (header, stream bytes)."""
        n, body = request
        header, data = self.post_box(body)
        assert set(header) == {"re", "up_ack", "down", "fin", "close"}
        assert header["re"] == n, "re is not the request's n"
        return header, data

    def post_box(self, body):
        message = outer(self.bridge.post(self.path(), body), {"n", "box"})
        assert message["n"] not in self.replies, "the server used a nonce twice"
        self.replies.add(message["n"])
        reply, rest = unpack(unseal(self.shake.k_down, message["n"], b"", unb64(message["box"])))
        SEEN.append((*self.boxed[body], reply))
        return reply, rest

    def exchange(self, data=b"", **fields):
        return self.post(self.box(data, **fields))


# ---- 7 Direct connections ----

def frame(kind, *fields):
    """Integers of 8 bytes, and bytes as they are."""
    body = b"".join(f if isinstance(f, bytes) else struct.pack(">Q", f) for f in fields)
    return struct.pack(">BH", kind, len(body)) + body


class Direct:
    def __init__(self, session, epoch, address=None):
        self.tag, self.key_up, self.key_down = epoch_keys(session.shake.direct, epoch)
        self.padding = session.bridge.padding
        self.sent = self.got = 0   # records
        self.lengths = []          # of the bodies that came
        self.address = address or session.bridge.address
        self.sock = None

    def record(self, *frames):
        """Seals the next record, padded as in 3.1."""
        text, tag = b"".join(frames), self.tag if self.sent == 0 else b""
        if self.sent < 6:
            room = self.padding.up[self.sent] - 16 - len(tag)
        else:
            room = len(text) + random.randint(0, self.padding.spread)
        assert len(text) <= room, "too much for one record"
        text += bytes(room - len(text))
        header = b"\x17\x03\x03" + struct.pack(">H", len(tag) + len(text) + 16)
        self.sent += 1
        return header + tag + seal(self.key_up, self.sent - 1, header, text)

    def hello(self, *frames, ack=(0, CREDIT)):
        return self.record(frame(HELLO, *ack, b"\0"), *frames)

    def connect(self):
        self.sock = socket.create_connection(self.address, TIMEOUT)
        return self

    def send(self, *frames):
        self.sock.sendall(self.record(*frames))

    def read(self):
        """The frames of the next record, [(type, fields...)]; None when it has ended."""
        header = self._exactly(5)
        if header is None:
            return None
        length = struct.unpack(">H", header[3:])[0]
        assert header[:3] == b"\x17\x03\x03" and 17 <= length <= 16401
        sealed = self._exactly(length)
        assert sealed is not None, "the connection ended inside a record"
        text = unseal(self.key_down, self.got, header, sealed)
        frames, padding = parse(text)
        if self.got < 6:
            assert length == self.padding.down[self.got], "not the scheme's length"
        else:
            assert padding <= self.padding.spread
        self.got += 1
        self.lengths.append(length)
        return frames

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            try:
                more = self.sock.recv(n - len(data))
            except ConnectionResetError:
                return None
            if not more:
                assert not data, "the connection ended inside a record"
                return None
            data += more
        return data

    def close(self):
        self.sock.close()


def parse(text):
    """([(type, fields...)], bytes of padding)"""
    sizes = {ACCEPT: ">QQ", ACK: ">QQ", FIN: ">Q", PING: ">Q", PONG: ">Q", CLOSE: ">B"}
    frames, at = [], 0
    while at < len(text) and text[at] != PAD:
        kind, length = struct.unpack(">BH", text[at:at + 3])
        body = text[at + 3:at + 3 + length]
        assert len(body) == length, "a frame that is cut short"
        if kind == DATA:
            assert length > 8, "DATA without bytes"
            frames.append((DATA, struct.unpack(">Q", body[:8])[0], body[8:]))
        else:
            frames.append((kind, *struct.unpack(sizes[kind], body)))
        at += 3 + length
    assert not any(text[at:]), "the padding is not zeros"
    return frames, len(text) - at
