"""What interop.py plays with: servers, and the target and web server behind them.

`plain` serves its API on the public port, as by default; `split` has a
listener of ours as fallback, so that spliced bytes can be seen; `dead` has a
target that refuses; `relay` is no bridge, but reaches what TOKEN's user names.
"""
import concurrent.futures
import contextlib
import json
import os
import re
import socket
import subprocess
import threading
import time

from specclient import ACCEPT, ACK, CREDIT, DATA, TIMEOUT, Bridge, Direct, Session

TOKEN = "token-of-the-only-user"
POOL = concurrent.futures.ThreadPoolExecutor(8)


class Listener:
    """Connections to a port of ours, in the order in which they came."""

    def __init__(self):
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.address = self.sock.getsockname()
        self.sock.settimeout(TIMEOUT)

    def accept(self):
        sock = self.sock.accept()[0]
        sock.settimeout(TIMEOUT)
        return sock


def exactly(sock, n):
    data = b""
    while len(data) < n:
        more = sock.recv(n - len(data))
        assert more, "the end after %d of %d bytes" % (len(data), n)
        data += more
    return data


def to_end(sock):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := sock.recv(1 << 16):
            data += more
    return data


class Server:
    def __init__(self, program, state, target, options=""):
        env = {k: v for k, v in os.environ.items() if k == "PATH" or k.endswith("SAN_OPTIONS")}
        env.update(TOR_PT_MANAGED_TRANSPORT_VER="1", TOR_PT_EXIT_ON_STDIN_CLOSE="1",
                   TOR_PT_SERVER_TRANSPORTS="sultry", TOR_PT_STATE_LOCATION=state,
                   TOR_PT_SERVER_BINDADDR="sultry-127.0.0.1:0", TOR_PT_ORPORT="%s:%d" % target,
                   TOR_PT_SERVER_TRANSPORT_OPTIONS=options)
        self.started = time.time()
        self.process = subprocess.Popen([program], env=env, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            words = line.split()
            if words[0] == "SMETHOD-ERROR":
                raise SystemExit(line)
            if words[0] == "SMETHOD":
                host, _, port = words[2].rpartition(":")
                self.address = host, int(port)
                self.args = dict(a.split("=", 1) for a in words[3][len("ARGS:"):].split(","))
            if words[:2] == ["SMETHODS", "DONE"]:
                break
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def stop(self):
        self.process.stdin.close()
        assert self.process.wait(TIMEOUT) == 0, "the server's exit status"


class Relay:
    """A server of its own, for one user, who may reach that port of 127.0.0.1 besides what
    everybody may."""

    def __init__(self, program, folder, address, port):
        os.mkdir(folder)
        users, config, state = (folder + name for name in ("/users", "/config", "/state"))
        for path, value in (
                (users, {"users": [{"name": "one", "token": TOKEN}]}),
                (config, {"listen": ["%s:%d" % address], "state": state, "users": users,
                          "allow": [{}, {"networks": ["127.0.0.1/32"], "ports": [port]}]})):
            with open(path, "w", encoding="ascii") as f:
                json.dump(value, f)
        self.process = subprocess.Popen([program, "--config", config])
        self.address = address
        line = state + "/sultry_bridgeline.txt"
        while not os.path.exists(line):  # it listens by then
            assert self.process.poll() is None, "the relay ended"
            time.sleep(0.01)
        with open(line, encoding="ascii") as f:
            self.args = dict(a.split("=", 1) for a in re.search(r"key=.*", f.read())[0].split())

    def stop(self):
        self.process.terminate()
        assert self.process.wait(TIMEOUT) == 0, "the relay's exit status"


class World:
    def __init__(self, program, spec, tmp):
        self.spec, self.tmp = spec, tmp
        self.target, self.web = Listener(), Listener()
        # Bound without listening: the kernel gives the ports to nobody else, and refuses
        # connections to them.
        self.held = [socket.socket() for _ in range(3)]
        for sock in self.held:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
        api, closed, own = (sock.getsockname() for sock in self.held)
        self.servers = [
            Server(program, tmp + "/plain", self.target.address),
            Server(program, tmp + "/split", self.target.address,
                   r"sultry:fallback=127.0.0.1\:%d;sultry:oob=127.0.0.1\:%d"
                   % (self.web.address[1], api[1])),
            Server(program, tmp + "/dead", closed),
            Relay(program, tmp + "/relay", own, self.target.address[1])]
        plain, split, dead, relay = self.servers
        self.plain = Bridge(plain.args, plain.address)
        self.split = Bridge(split.args, split.address, api)
        self.dead = Bridge(dead.args, dead.address)
        self.relay = Bridge(relay.args, relay.address)

    def session(self, data=b"", bridge=None, **fields):
        """(a session that is open, the target's socket)"""
        s = Session(bridge or self.split, data, **fields)
        reply = POOL.submit(s.post_open)
        t = self.target.accept()
        if data:
            assert exactly(t, len(data)) == data
            t.sendall(b"hi")
        s.first = s.opened(reply.result(TIMEOUT))
        return s, t

    def direct(self, s, epoch, *frames, ack=(0, CREDIT), received=0):
        """A direct connection with its ACCEPT read; its other frames are in d.waiting."""
        d = Direct(s, epoch)
        hello = d.hello(*frames, ack=ack)
        d.connect().sock.sendall(hello)
        with self.web.accept() as fallback:
            assert to_end(fallback) == b"", "the fallback saw a part of a hello"
        kind, *accepted = self.next(d)
        assert kind == ACCEPT and accepted[0] == received, accepted
        assert accepted[1] >= CREDIT
        return d

    @staticmethod
    def next(d):
        """The next frame; None at the end."""
        while not (waiting := d.__dict__.setdefault("waiting", [])):
            frames = d.read()
            if frames is None:
                return None
            waiting += frames
        return waiting.pop(0)

    def data(self, d, offset, n):
        """n bytes of `down` from offset on; acks are read over."""
        data = b""
        while len(data) < n:
            got = self.next(d)
            assert got is not None, "the end after %d of %d bytes" % (len(data), n)
            if got[0] != ACK:
                assert got[:2] == (DATA, offset + len(data)), got[:2]
                data += got[2]
        return data

    def until(self, d, kind):
        while (got := self.next(d)) is not None and got[0] != kind:
            pass
        assert got is not None, "the end instead of a frame of type %d" % kind
        return got[1:]

    def spliced(self, data, fin=False):
        """The bytes go to the fallback unchanged, its answer comes back, and the end too."""
        with socket.create_connection(self.split.address, TIMEOUT) as sock, \
                self.web.accept() as web:
            sock.sendall(data)
            if fin:
                sock.shutdown(socket.SHUT_WR)
            assert exactly(web, len(data)) == data
            web.sendall(b"the web server")
            assert exactly(sock, 14) == b"the web server"
            web.close()
            assert to_end(sock) == b""
