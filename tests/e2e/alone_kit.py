"""What the tests of the standalone proxy and relay stand on: an internet of one namespace
with real servers and a DNS server, a relay, a client, curl, and a sniffer.

    client's namespace (a Lan) ---- this namespace: relays ---- the internet (a Lan)

The internet has the public addresses, so that a relay's default access list is under test
as it is, and a private one. A relay's own public address is OWN.
"""
import contextlib
import hashlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading

from pt_kit import DEADLINE, PROGRAMS, SLOW, Lan, run, until

SITE, SITE6, CLOSED, DNS = "198.51.100.10", "2001:db8:1::10", "198.51.100.12", "198.51.100.53"
PRIVATE = "10.99.0.10"
OWN, OWN6 = "203.0.113.1", "2001:db8:2::1"
BARRED = "198.51.100.11"  # no relay of this namespace reaches it
CENSORED, MUTE = "198.51.100.13", "198.51.100.14"  # see alone_strategies.py
LOST, UNREACHABLE, NO_ROUTE = "198.51.100.98", "198.51.100.99", "192.0.2.77"
HOST = "www.target.example"
REBIND = "rebind.example"
MOVING = "moving.example"  # see alone_strategies.py
TOP = os.environ["TMP"]
E2E = os.path.dirname(os.path.abspath(__file__))
# Linux; Python has no names for them.
SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 33, 263, 6
LOCK, CERTIFICATES = threading.Lock(), threading.Lock()

# Addresses of names; None: no answer at all. What is not here does not exist.
ZONE = {
    HOST: [SITE, SITE6], "v4.target.example": [SITE], "v6.target.example": [SITE6],
    "other.example": [SITE], "www.barred.example": [BARRED], "img.barred.example": [BARRED],
    "censored.example": [CENSORED], "mute.example": [MUTE],
    "private.example": [PRIVATE], "loop.example": ["127.0.0.1"], "own.example": [OWN],
    "mapped.example": ["::ffff:" + PRIVATE], "nat64.example": ["64:ff9b::" + PRIVATE],
    "unique.example": ["fd99::10"], "mixed.example": [PRIVATE, SITE],
    REBIND: [SITE, PRIVATE], MOVING: [SITE], "silent.example": None,
    "closed.example": [CLOSED], "lost.example": [LOST],
    "unreachable.example": [UNREACHABLE], "noroute.example": [NO_ROUTE],
}
TTL = {REBIND: 0, MOVING: 3}  # seconds; 60 for all others


# ---- programs ----

class Daemon:
    """A program that runs until the context t ends it, with its output in a file."""

    def __init__(self, t, name, command, status=0, env=None):
        self.name, self.status, self.said = name, status, []
        self.path = os.path.join(t.dir, f"{name}-{id(self)}.log")
        with open(self.path, "wb") as out:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out,
                                          stderr=out, env=env)
        self.pid, self.role = self.child.pid, name
        t.callback(self.close)
        t.programs.append(self)

    @property
    def lines(self):
        with contextlib.suppress(FileNotFoundError):  # the test has ended
            with open(self.path, encoding="latin-1") as f:
                self.said = f.read().splitlines()
        return self.said

    def line(self, regex, n=1, seconds=DEADLINE):
        """The match of the n-th line in which regex is found; waits for it."""
        def find():
            found = [m for m in (re.search(regex, x) for x in self.lines) if m]
            return found[n - 1] if len(found) >= n else None
        until(lambda: find() or self.child.poll() is not None, f"{self.name}: {regex}", seconds)
        assert find(), f"{self.name} ended before it said: {regex}"
        return find()

    def gone(self, seconds=DEADLINE):
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end in {seconds} s") from None

    def kill(self):
        self.status = -9
        self.child.kill()
        self.child.wait()

    def close(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(10 * SLOW)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        said = "\n".join(self.lines)
        assert "Sanitizer" not in said and "runtime error" not in said, said
        assert self.status in (None, self.child.returncode), \
            f"{self.name} ended with status {self.child.returncode}"


def write(t, name, value):
    """A file of the test's own: text, or anything else as JSON. Its path."""
    path = os.path.join(t.dir, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(value if isinstance(value, str) else json.dumps(value, indent=1))
    return path


def relay(t, port=0, addr=OWN, **config):
    """A relay that listens; .host, .port and .args are those of its line, .state its folder."""
    state = config.setdefault("state", os.path.join(t.dir, f"relay-{len(t.programs)}"))
    config = {"listen": [f"{addr}:{port or free_port(addr)}"], "log": "info",
              "resolvers": [DNS], **config}
    r = Daemon(t, "relay", [PROGRAMS["server"], "--config",
                            write(t, f"relay-{len(t.programs)}.json", config)])
    r.host, r.port = addr, int(r.line(r"listening on \S+:(\d+)")[1])
    r.state = state
    path = os.path.join(state, "sultry_bridgeline.txt")
    until(lambda: os.path.exists(path), "a bridge line")
    with open(path, encoding="ascii") as f:
        r.args = re.search(r" (key=\S+.*)", f.read())[1]
    return r


def free_port(addr):
    with socket.create_server((addr, 0)) as s:
        return s.getsockname()[1]


def line_of(r, extra=""):
    return f"sultry {r.host}:{r.port} {r.args}{extra}"


def client(t, r=None, *flags, config=None, line=None, login="", wrap=()):
    """A client of its relay that listens; .socks, .http and .mixed are its ports."""
    command = [*wrap, PROGRAMS["client"], "--log", "info"]
    for scheme in ("socks5", "http", "mixed"):
        command += ["--listen", f"{scheme}://{login}127.0.0.1:0"]
    if r or line:
        command += ["--bridge", line or line_of(r)]
    if config is not None:
        command += ["--config", write(t, f"client-{len(t.programs)}.json", config)]
    c = Daemon(t, "client", command + list(flags))
    c.socks, c.http, c.mixed = (int(c.line(r"listening on 127\.0\.0\.1:(\d+)", n)[1])
                                for n in (1, 2, 3))
    return c


def command(*words, status=0, seconds=60, text=None, env=None):
    """What it says on stdout; it has to end with that status (None: any)."""
    done = subprocess.run(words, input=text, capture_output=True, timeout=seconds * SLOW, env=env,
                          check=False)
    assert status in (None, done.returncode), \
        f"{' '.join(words)}: status {done.returncode}\n" \
        f"{(done.stderr or done.stdout[-1000:]).decode('latin-1')}"
    return done.stdout


def curl(proxy, *words, status=0, seconds=60, text=None):
    return command("curl", "-q", "-sS", "--noproxy", "", "--proxy", proxy, "-m",
                   str(seconds * SLOW), "--cacert", os.path.join(TOP, "site.crt"), *words,
                   status=status, seconds=seconds + 5, text=text)


def resolve_by(line, name, *flags, status=0):
    """The addresses that `sultry-client --resolve` prints."""
    return command(PROGRAMS["client"], "--bridge", line, "--resolve", name, *flags,
                   status=status).decode().split()


def resolve(r, name, *flags, status=0):
    return resolve_by(line_of(r), name, *flags, status=status)


def start_hop(t, r, folder, *flags):
    """The address of a hop.py in front of that relay, which records in that folder."""
    hop = Daemon(t, "hop", [sys.executable, E2E + "/hop.py", "--upstream", f"{r.host}:{r.port}",
                            "--record", os.path.join(t.dir, folder), *flags], status=None)
    return hop.line(r"listening (127[^ ]*)")[1]


def line_by_hop(t, r):
    """A line of that relay behind hop.py, which records in t.dir/rec."""
    return f"sultry {start_hop(t, r, 'rec')} {r.args}"


def concealed(t, c, least_down):
    """Ends c, a client of a line_by_hop. What crossed the wire was HTTPS, which names no
    target, and nothing but sealed records, of which so many bytes came down."""
    c.close()
    read_wire(t, "direct", "rec", "--least-down", str(least_down))


def read_wire(t, what, folder, *flags):
    """Has wire.py read a recording, in which neither the target's name nor address may be."""
    absent = sum((["--absent", text] for text in (HOST, "target.example", SITE, SITE6)), [])
    command(sys.executable, E2E + "/wire.py", what, os.path.join(t.dir, folder), *absent, *flags)


def socks5(c, port=None):
    return f"socks5h://127.0.0.1:{port or c.socks}"


def http(c, port=None):
    return f"http://127.0.0.1:{port or c.http}"


def digest(data):
    return hashlib.sha256(data).hexdigest()


# ---- the internet ----

class Dns:
    """Answers from ZONE; .asked are the names that were asked for."""

    def __init__(self, addr):
        self.asked = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((addr, 53))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            query, peer = self.socket.recvfrom(4096)
            with contextlib.suppress(IndexError, struct.error):
                answer = self.answer(query)
                if answer:
                    self.socket.sendto(answer, peer)

    def answer(self, query):
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode("latin-1"))
            at += 1 + query[at]
        name, end = ".".join(labels).lower(), at + 5
        kind = struct.unpack("!H", query[at + 1:at + 3])[0]
        self.asked.append(name)
        addresses = ZONE.get(name, ())
        if addresses is None:
            return None
        if name == REBIND:  # another one each time
            addresses = [addresses[self.asked.count(name) // 2 % 2]]
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        found = [a for a in addresses if (":" in a) == (family == socket.AF_INET6) and family]
        head = query[:2] + struct.pack("!HHHHH", 0x8580 | (0 if name in ZONE else 3), 1,
                                       len(found), 0, 0)
        body = query[12:end]
        for a in found:
            packed = socket.inet_pton(family, a)
            body += struct.pack("!HHHIH", 0xc00c, kind, 1, TTL.get(name, 60), len(packed))
            body += packed
        return head + body


NGINX = """
user root; daemon off; master_process off; error_log stderr notice; pid {dir}/nginx.pid;
events {{ worker_connections 2048; }}
http {{
	{temporary}
	log_format seen '$remote_addr $server_addr $server_protocol $ssl_protocol $host $request_uri '
		'$status';
	access_log {dir}/access.log seen;
	types {{ text/html html; text/javascript js; image/svg+xml svg; }}
	ssl_certificate {dir}/site.crt; ssl_certificate_key {dir}/site.key;
	ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:1m;
	keepalive_timeout 30;
	server {{
		{listen}
		root {dir}/www;
		client_max_body_size 0; dav_methods PUT;
	}}
}}
"""


def nginx_temporary(folder):
    return " ".join(f"{kind}_temp_path {folder}/nginx-{kind};"
                    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))


class Internet:
    """One for all tests. """

    def __init__(self, t):
        self.lan = Lan(t)
        for family in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            with open("/proc/sys/net/" + family, "w", encoding="ascii") as f:
                f.write("1")
        run("ip", "address", "add", OWN + "/32", "dev", "lo")
        run("ip", "address", "add", OWN6 + "/128", "dev", "lo", "nodad")
        run("ip", "route", "add", "198.51.100.0/24", "via", self.lan.far)
        run("ip", "route", "add", PRIVATE + "/32", "via", self.lan.far)
        run("ip", "route", "add", "unreachable", UNREACHABLE)
        # What starts here: a relay, but no client.
        run("ip", "rule", "add", "iif", "lo", "to", BARRED, "unreachable")
        run("ip", "route", "add", "2001:db8:1::/48", "via", self.lan.far6)
        with self.lan.inside():
            for a in (SITE, BARRED, CENSORED, MUTE, CLOSED, DNS, PRIVATE):
                run("ip", "address", "add", a + "/32", "dev", "lo")
            run("ip", "address", "add", SITE6 + "/128", "dev", "lo", "nodad")
            self.dns = Dns(DNS)
            self.start_nginx(t)

    def start_nginx(self, t):
        self.make_site()
        listen = "".join(f"listen {a}:443 ssl http2; listen {a}:80; listen {a}:8443 ssl; "
                         for a in (SITE, f"[{SITE6}]", BARRED, CENSORED, PRIVATE))
        conf = write(t, "nginx.conf", NGINX.format(dir=TOP, listen=listen,
                                                   temporary=nginx_temporary(TOP)))
        self.nginx = Daemon(t, "nginx", ["nginx", "-e", "stderr", "-p", TOP, "-c", conf])
        until(lambda: self.listens(443) or self.nginx.child.poll() is not None, "nginx")
        assert self.listens(443), self.nginx.lines

    def listens(self, port):
        with contextlib.suppress(OSError), socket.create_connection((SITE, port), 1):
            return True
        return False

    def make_site(self):
        certificate("site", *[n for n in ZONE if ZONE[n]])
        www = os.path.join(TOP, "www")
        os.mkdir(www)
        self.files = {}
        for i in range(100):
            data = os.urandom(2000 + 1777 * i)
            self.files[f"f{i}"] = digest(data)
            with open(os.path.join(www, f"f{i}"), "wb") as f:
                f.write(data)
        for name, data in (("index.html", b"the site\n"), ("big", os.urandom(8_000_000))):
            self.files[name] = digest(data)
            with open(os.path.join(www, name), "wb") as f:
                f.write(data)

    def log(self, word):
        """The lines of nginx's log with that word, which is the mark of one test."""
        with open(os.path.join(TOP, "access.log"), encoding="latin-1") as f:
            return [x for x in f.read().splitlines() if word in x]


def certificate(name, *hosts):
    """TOP/name.{crt,key,pem}, self-signed, made by the test that asks first."""
    path = os.path.join(TOP, name)
    with CERTIFICATES:
        if os.path.exists(path + ".pem"):
            return
        command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=" + hosts[0],
                "-addext", "subjectAltName=" + ",".join("DNS:" + h for h in hosts),
                "-keyout", path + ".key", "-out", path + ".crt")
        with open(path + ".pem", "wb") as f:
            for end in (".crt", ".key"):
                with open(path + end, "rb") as part:
                    f.write(part.read())


def pin(name):
    """The pin= of TOP/name.crt."""
    key = command("openssl", "x509", "-in", f"{TOP}/{name}.crt", "-noout", "-pubkey")
    der = command("openssl", "pkey", "-pubin", "-outform", "der", text=key)
    hashed = command("openssl", "dgst", "-sha256", "-binary", text=der)
    return command("basenc", "--base64url", text=hashed).decode().strip().rstrip("=")


class World:
    """The internet, started when a test first asks, and ended by end()."""
    internet = None
    stack = None  # not None: it has been tried

    @classmethod
    def get(cls, context):
        with LOCK:
            if cls.stack is None:
                cls.stack = context()
                cls.internet = Internet(cls.stack)
            assert cls.internet, "no internet: see the test that tried"
            return cls.internet

    @classmethod
    def end(cls):
        if cls.stack:
            cls.stack.close()


def internet(t):
    return World.get(type(t))


# ---- what crosses a wire ----

class Segment:
    def __init__(self, source, to, sequence, flags, payload):
        self.source, self.to, self.sequence = source, to, sequence
        self.flags, self.payload = flags, payload


class Wire:
    """Every packet on a device of the calling thread's namespace. .tcp are Segments, .other
    are (protocol, source address, destination address, port) of all that is not TCP."""

    def __init__(self, t, device):
        self.tcp, self.other, self.end, self.whole = [], [], False, True
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        except PermissionError:  # in a user namespace: of a flood, it sees a part
            self.whole = False
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        self.socket.bind((device, 3))
        self.socket.settimeout(0.1)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        t.callback(self.stop)

    def read(self):
        while True:
            try:
                data, where = self.socket.recvfrom(1 << 17)
            except TimeoutError:
                if self.end:
                    return
                continue
            if where[1] == 0x0800:
                at, protocol = (data[0] & 15) * 4, data[9]
                ends = [socket.inet_ntoa(data[i:i + 4]) for i in (12, 16)]
                data = data[:struct.unpack("!H", data[2:4])[0]]
            elif where[1] == 0x86dd:
                at, protocol = 40, data[6]
                ends = [socket.inet_ntop(socket.AF_INET6, data[i:i + 16]) for i in (8, 24)]
                data = data[:40 + struct.unpack("!H", data[4:6])[0]]
            else:
                continue  # ARP
            self.packet(protocol, ends, data[at:])

    def packet(self, protocol, ends, p):
        if protocol == 6:
            source, to, sequence = struct.unpack("!HHI", p[:8])
            self.tcp.append(Segment((ends[0], source), (ends[1], to), sequence, p[13],
                                    p[(p[12] >> 4) * 4:]))
        elif protocol not in (0, 58) or not ends[1].startswith("f"):  # but for neighbours
            port = struct.unpack("!H", p[2:4])[0] if protocol == 17 else 0
            self.other.append((protocol, *ends, port))

    def stop(self):
        if self.end:
            return
        self.end = True
        self.thread.join(5)
        _, lost = struct.unpack("II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self.socket.close()
        assert not lost or not self.whole, f"the sniffer missed {lost} packets"

    def streams(self):
        """{(source, to): bytes}, each with its bytes in order, once. Connections that were
        there before are left out."""
        found = {}
        begun = {(s.source, s.to) for s in self.tcp if s.flags & 2}
        for s in self.tcp:
            if (s.source, s.to) not in begun:
                continue
            stream = found.setdefault((s.source, s.to), {"base": None, "parts": {}})
            if s.flags & 2:
                stream["base"] = s.sequence + 1
            if s.payload:
                stream["parts"].setdefault(s.sequence, s.payload)
        for key, stream in found.items():
            data, base = b"", stream["base"]
            for sequence in sorted(stream["parts"], key=lambda x: (x - base) % (1 << 32)):
                at = (sequence - base) % (1 << 32)
                if at <= len(data):
                    data += stream["parts"][sequence][len(data) - at:]
            found[key] = data
        return found

    def conceals(self, lan, r, least):
        """Ends it. What crossed it went to that relay alone: HTTPS and sealed records, no name."""
        self.stop()
        others = self.past(lan, r.host)
        assert not others, f"past the relay: {others[:5]}"
        ports = {s.to[1] for s in self.tcp if s.to[0] == r.host}
        assert ports == {r.port}, ports
        seen = sum(len(s.payload) for s in self.tcp)
        assert seen > least or not self.whole, f"the sniffer saw only {seen} bytes"
        streams = self.streams()
        for key, data in [*streams.items(), *(((s.source, s.to), s.payload) for s in self.tcp)]:
            for text in (HOST, "target.example", SITE):
                assert text.encode() not in data, f"{text} from {key[0]} to {key[1]}"
        for key, data in streams.items():
            # One that was dialled for nothing is empty; a hello that comes behind the end of
            # its session is a stranger's, to whom TLS says unexpected_message.
            assert (not data or data[:2] == b"\x16\3" or data[:3] == b"\x17\3\3" or
                    data == b"\x15\3\3\0\2\2\n" and key[0] == (r.host, r.port)), (key, data[:8])

    def past(self, lan, *addresses):
        """What the namespace sent to other addresses than these."""
        own = (lan.far, lan.far2, lan.far6, lan.far62)
        sent = [s.to for s in self.tcp if s.source[0] in own]
        sent += [(to, port, protocol) for protocol, source, to, port in self.other if source in own]
        assert sent, "the sniffer is blind"
        return [x for x in sent if x[0] not in addresses]
