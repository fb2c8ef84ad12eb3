"""What stands around the two programs in a test: targets, upstream proxies, an ORPort."""
import base64
import contextlib
import hashlib
import hmac
import json
import os
import socket
import ssl
import struct
import subprocess
import threading

from pt_kit import DEADLINE, exactly, to_end
from specclient import (Handshake, X25519PrivateKey, b64, compact, pack, public_of, sha256, unb64,
                        unpack)


def echo(s, peer):
    del peer
    while data := s.recv(65536):
        s.sendall(data)
    try:
        s.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # reset meanwhile: a test's end ends the programs at once


def swallow(s, peer):
    del peer
    to_end(s)


class Listener:
    """Accepts in a thread, and runs handle(socket, peer's address) in one for each.

    .peers are the addresses that came. What handle raises fails the test, but
    for connections that are reset."""

    def __init__(self, t, handle, host="127.0.0.1", port=0):
        self.handle, self.error, self.peers, self.open = handle, None, [], []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, port), family=family)
        self.address = self.listener.getsockname()[:2]
        threading.Thread(target=self.accept, daemon=True).start()
        t.callback(self.close)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                s, peer = self.listener.accept()
                s.settimeout(DEADLINE)
                self.peers.append(peer[:2])
                self.open.append(s)
                threading.Thread(target=self.serve, args=(s, peer), daemon=True).start()

    def serve(self, s, peer):
        try:
            self.handle(s, peer[:2])
        except ConnectionError:
            pass
        except Exception as e:
            self.error = self.error or e
        finally:
            s.close()

    def stop(self):
        """Takes nothing more."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def cut(self):
        """Ends the connections there are."""
        for s in self.open:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.stop()
        self.cut()
        if self.error:
            raise self.error


def relay(a, b):
    def one_way(x, y):
        with contextlib.suppress(OSError):
            while data := x.recv(65536):
                y.sendall(data)
            y.shutdown(socket.SHUT_WR)
    thread = threading.Thread(target=one_way, args=(b, a), daemon=True)
    thread.start()
    one_way(a, b)
    thread.join(DEADLINE)
    b.close()


def hop(t, to, host="127.0.0.1"):
    """Passes connections on; its .peers tell who came."""
    return Listener(t, lambda s, peer: relay(s, socket.create_connection(to, DEADLINE)), host)


def certificate(t):
    """(certificate, key) of target.example, self-signed; one for each test."""
    key, cert = os.path.join(t.dir, "key.pem"), os.path.join(t.dir, "cert.pem")
    if not os.path.exists(key):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                        "/CN=target.example", "-keyout", key, "-out", cert],
                       check=True, capture_output=True, timeout=DEADLINE)
    return cert, key


# ---- a bridge's API ----

class Api(Listener):
    """Has the key of .args. answer(header) gets what a one-shot or an open asks, and says what
    is replied; None: nothing is, ever."""

    def __init__(self, t, answer):
        self.answer, self.secret = answer, X25519PrivateKey.generate()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(*certificate(t))
        spki = subprocess.run("openssl x509 -in %s -noout -pubkey | openssl pkey -pubin -outform der"
                              % certificate(t)[0], shell=True, check=True, capture_output=True).stdout
        self.args = "key=%s;pin=%s" % (b64(public_of(self.secret)), b64(sha256(spki)))
        super().__init__(t, self.talk)

    def talk(self, s, peer):
        del peer
        if not s.recv(1, socket.MSG_PEEK):
            return  # a direct connection, given up before its hello
        with self.tls.wrap_socket(s, server_side=True) as tls, tls.makefile("rb") as f:
            while line := f.readline():
                size = 0
                while (header := f.readline().strip()):
                    name, _, value = header.partition(b":")
                    size = int(value) if name.lower() == b"content-length" else size
                body = self.reply(f.read(size)) if line.startswith(b"POST ") else b""
                if body is None:
                    to_end(tls)
                    return
                tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def reply(self, body):
        message = unb64(json.loads(body)["noise"])
        # The other half of the handshake is the same with the keys exchanged.
        shake = Handshake(public_of(self.secret))
        shake.e = self.secret
        answer = self.answer(unpack(shake.read(message))[0])
        shake.e, shake.server = X25519PrivateKey.generate(), message[:32]
        return answer and compact({"noise": b64(shake.write(pack(answer)))})


# ---- upstream proxies ----

class Refused(Exception):
    pass


class Proxy(Listener):
    """An upstream proxy of one kind. .asked lists what it was asked for: host (an address,
    or a name of .names), port, user, password, and the peer's address.

    refuse, if set, is the answer to every request instead of the connection."""

    def __init__(self, t, kind, host, names=None, login=None, refuse=None):
        self.kind, self.names, self.login, self.refuse = kind, names or {}, login, refuse
        self.asked = []
        super().__init__(t, self.talk, host)

    def uri(self, login=""):
        host, port = self.address
        host = f"[{host}]" if ":" in host else host
        return f"{self.kind}://{login and login + '@'}{host}:{port}"

    def talk(self, s, peer):
        try:
            host, port, user, password, yes = getattr(self, self.kind)(s)
        except Refused as e:
            s.sendall(e.args[0])
            return
        self.asked.append((host, port, user, password, peer))
        if self.refuse is not None:
            s.sendall(self.refuse)
            return
        if host in self.names:
            host, port = self.names[host]
        with socket.create_connection((host, port), DEADLINE) as onward:
            s.sendall(yes)
            relay(s, onward)

    def socks4(self, s):
        version, command, port, address = struct.unpack("!BBH4s", exactly(s, 8))
        assert (version, command) == (4, 1), "not a SOCKS4 CONNECT"
        user, host = until_nul(s), socket.inet_ntoa(address)
        if host.startswith("0.0.0."):
            assert self.kind == "socks4a", "a name for SOCKS4"
            host = until_nul(s)
        return host, port, user, None, b"\0\x5a" + bytes(6)

    socks4a = socks4

    def socks5(self, s):
        user = password = None
        version, n = exactly(s, 2)
        methods = exactly(s, n)
        assert version == 5
        if self.login:
            assert 2 in methods, "no credentials were offered"
            s.sendall(b"\5\2")
            assert exactly(s, 1) == b"\1"
            user, password = (exactly(s, exactly(s, 1)[0]).decode() for _ in range(2))
            if (user, password) != self.login:
                raise Refused(b"\1\1")
            s.sendall(b"\1\0")
        else:
            assert 0 in methods, methods
            s.sendall(b"\5\0")
        version, command, _, kind = exactly(s, 4)
        assert (version, command) == (5, 1)
        if kind == 3:
            host = exactly(s, exactly(s, 1)[0]).decode()
        else:
            family, n = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}[kind]
            host = socket.inet_ntop(family, exactly(s, n))
        port, = struct.unpack("!H", exactly(s, 2))
        return host, port, user, password, b"\5\0\0\1" + bytes(6)

    def http(self, s):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += exactly(s, 1)
            assert len(head) < 8192
        first, *headers = head.decode().strip().split("\r\n")
        method, target, version = first.split(" ")
        assert method == "CONNECT" and version in ("HTTP/1.1", "HTTP/1.0"), first
        headers = {k.lower(): v.strip() for k, v in (x.split(":", 1) for x in headers)}
        assert not set(headers) - {"host", "proxy-authorization", "proxy-connection", "user-agent"}
        assert "Mozilla" not in headers.get("user-agent", ""), "the proxy is shown our headers"
        user = password = None
        if "proxy-authorization" in headers:
            scheme, value = headers["proxy-authorization"].split(" ")
            assert scheme == "Basic"
            user, password = base64.b64decode(value).decode().split(":", 1)
        if self.login and (user, password) != self.login:
            raise Refused(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n"
                          b"Content-Length: 0\r\n\r\n")
        host, port = target.rsplit(":", 1)
        return host.strip("[]"), int(port), user, password, b"HTTP/1.1 200 OK\r\n\r\n"


def until_nul(s):
    text = b""
    while (c := exactly(s, 1)) != b"\0":
        text += c
    return text.decode()


# ---- an Extended ORPort ----

class ExtOrPort(Listener):
    """ext-orport-spec, the server's side. .clients lists what it was told: address, transport.

    answer: "okay", "deny", "liar" (does not know the cookie), "unread" (expects
    nothing, since there is no cookie), "other" (says what no one knows before OKAY), "mute"
    (never answers the commands)."""

    def __init__(self, t, handle=echo):
        self.file, self.answer, self.clients = os.path.join(t.dir, "cookie"), "okay", []
        self.told, self.then = threading.Event(), handle
        self.go = threading.Event()  # OKAY is held back until then
        self.go.set()
        self.new_cookie()
        super().__init__(t, self.talk)

    def new_cookie(self):
        self.cookie = os.urandom(32)
        with open(self.file, "wb") as f:
            f.write(b"! Extended ORPort Auth Cookie !\n" + self.cookie)

    def environment(self):
        return {"TOR_PT_EXTENDED_SERVER_PORT": "127.0.0.1:%d" % self.address[1],
                "TOR_PT_AUTH_COOKIE_FILE": self.file, "TOR_PT_ORPORT": "127.0.0.1:9"}

    def digest(self, way, nonces):
        label = b"ExtORPort authentication " + way + b" hash"
        return hmac.new(self.cookie, label + nonces, hashlib.sha256).digest()

    def talk(self, s, peer):
        answer = self.answer  # the test may be further before this is
        s.sendall(b"\x05\x01\x09\0")
        if answer == "unread":
            assert to_end(s) == b"", "it goes on without a cookie"
            return
        choice, theirs = exactly(s, 1), exactly(s, 32)
        assert choice == b"\1", choice
        ours = os.urandom(32)
        digest = self.digest(b"server-to-client", theirs + ours)
        s.sendall((bytes(32) if answer == "liar" else digest) + ours)
        if answer == "liar":
            assert to_end(s) == b"", "it goes on with a server that has no cookie"
            return
        assert exactly(s, 32) == self.digest(b"client-to-server", theirs + ours)
        s.sendall(b"\1")
        told = {}
        while (command := struct.unpack("!HH", exactly(s, 4)))[0] != 0:
            told[command[0]] = exactly(s, command[1]).decode()
        self.clients.append((told.get(1), told.get(2)))
        self.told.set()
        if answer == "mute":
            assert to_end(s) == b"", "payload before OKAY"
            return
        if answer == "deny":
            s.sendall(b"\x10\x01\0\0")
            assert to_end(s) == b"", "payload after DENY"
            return
        if answer == "other":
            s.sendall(b"\x10\x02\0\3xyz\x20\0\0\0")
        if not self.go.is_set():
            s.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                raise AssertionError(f"payload before OKAY: {s.recv(1)}")
            s.settimeout(DEADLINE)
            assert self.go.wait(DEADLINE)
        s.sendall(b"\x10\0\0\0")
        self.then(s, peer)
