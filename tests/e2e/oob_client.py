"""A client of the OOB API that keeps its connections, and may misbehave: what server.py
needs beyond specclient.py."""
import json
import socket
import ssl

from specclient import (CREDIT, Handshake, Padding, b64, base_path, clock, compact, pack, seal, unb64,
                        unpack, unseal)

TIMEOUT = 60  # seconds: ends a hung test


def request(method, path, body=b"", headers=()):
    lines = ["%s %s HTTP/1.1" % (method, path), "Host: bridge.example", *headers]
    if body and not any(h.lower().startswith(("content-length", "transfer-")) for h in headers):
        lines.append("Content-Length: %d" % len(body))
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Web:
    """One HTTPS connection."""

    def __init__(self, addr):
        raw = socket.create_connection(addr, TIMEOUT)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = ssl._create_unverified_context().wrap_socket(raw)

    def send(self, data):
        self.sock.sendall(data)

    def reply(self, head=False):
        """(status line and headers, body); (b"", b"") if the connection ended first."""
        data = b""
        try:
            while b"\r\n\r\n" not in data:
                more = self.sock.recv(65536)
                if not more:
                    return data, b""
                data += more
            top, body = data.split(b"\r\n\r\n", 1)
            want = 0
            for line in top.split(b"\r\n")[1:]:
                name, value = line.split(b":", 1)
                if name.lower() == b"content-length" and not head:
                    want = int(value)
            while len(body) < want:
                more = self.sock.recv(65536)
                if not more:
                    break
                body += more
            return top, body
        except (ConnectionError, ssl.SSLError):
            return data, b""

    def ask(self, method, path, body=b"", headers=()):
        self.send(request(method, path, body, headers))
        return self.reply(method == "HEAD")

    def close(self):
        self.sock.close()


class Refused(Exception):
    pass


def ok(reply):
    top, body = reply
    assert top.startswith(b"HTTP/1.1 200 "), top
    return json.loads(body)


class Bridge:
    def __init__(self, address, key):
        self.address, self.key = address, key
        self.base, self.padding = base_path(key), Padding(key)

    def message(self, header, data=b""):
        """(the handshake, the body) of a one-shot request."""
        shake = Handshake(self.key)
        return shake, compact({"v": 1, "noise": b64(shake.write(pack(header, data)))})

    def open_message(self, data=b""):
        return self.message({"op": "open", "time": clock(), "up": 0}, data)

    def one_shot(self, web, header, data=b""):
        shake, body = self.message(header, data)
        return unpack(shake.read(unb64(ok(web.ask("POST", self.base, body))["noise"])))

    def open(self, web, data=b""):
        shake, body = self.open_message(data)
        return self.opened(shake, web.ask("POST", self.base, body))

    def opened(self, shake, reply):
        header, data = unpack(shake.read(unb64(ok(reply)["noise"])))
        if "error" in header:
            raise Refused(header["error"]["code"])
        return Session(self, shake, header, data)

    def alive(self, web, session):
        return self.one_shot(web, {"op": "status", "time": 0, "session": session})[0]["alive"]


class Session:
    def __init__(self, bridge, shake, header, data):
        self.bridge, self.shake, self.id = bridge, shake, header["session"]
        self.path = bridge.base + "/" + self.id
        self.n = self.epoch = 0
        self.sent, self.limit = header["up_ack"]
        self.data = data

    def box(self, data=b"", n=None, **fields):
        if n is None:
            n, self.n = self.n, self.n + 1
        header = {"op": "exchange", "epoch": self.epoch, "poll": False, "up": self.sent,
                  "fin": False, "down_ack": [len(self.data), len(self.data) + CREDIT],
                  "up_limit": self.limit, "wait_ms": 0, "close": None, **fields}
        return compact({"v": 1, "n": n,
                        "box": b64(seal(self.shake.k_up, n, b"", pack(header, data)))})

    def start(self, web, data=b"", **fields):
        web.send(request("POST", self.path, self.box(data, **fields)))

    def finish(self, web):
        outer = ok(web.reply())
        header, data = unpack(unseal(self.shake.k_down, outer["n"], b"", unb64(outer["box"])))
        if "error" not in header:
            self.data += data[max(0, len(self.data) - header["down"]):]
            self.limit = max(self.limit, header["up_ack"][1])
        return header, data

    def exchange(self, web, data=b"", **fields):
        self.start(web, data, **fields)
        return self.finish(web)
