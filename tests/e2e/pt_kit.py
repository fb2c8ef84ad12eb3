"""A PT parent, and what a test of one needs: programs, namespaces, SOCKS, a runner.

Every line that a program writes is checked as it comes (check_line), so each
test is one of PT-CHECKLIST items 5, 6, 9 and 71 to 75 as well.
"""
import concurrent.futures
import contextlib
import ctypes
import faulthandler
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

BUILD = os.environ.get("BUILD", "build")
PROGRAMS = {role: os.path.join(BUILD, "sultry-" + role) for role in ("client", "server")}
DEADLINE = 25  # seconds: for what has to happen, but when does not matter
EXIT_SOON = 0.5  # seconds, for what is to end within 200 ms; a busy machine takes its share
TESTS = []


def test(items, name):
    """Registers a test under its PT-CHECKLIST items."""
    def register(function):
        TESTS.append((items, name, function))
        return function
    return register


def until(condition, what, seconds=DEADLINE):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("not in time: " + what)
        time.sleep(0.01)


# ---- what programs say ----

KEYWORDS = ("VERSION", "VERSION-ERROR", "ENV-ERROR", "PROXY", "PROXY-ERROR", "CMETHOD",
            "CMETHOD-ERROR", "CMETHODS", "SMETHOD", "SMETHOD-ERROR", "SMETHODS", "LOG", "STATUS")
LOG = re.compile(rb'LOG SEVERITY=(error|warning|notice|info|debug) '
                 rb'MESSAGE="((?:[^"\\]|\\["\\nrt])*)"')
STATUS = re.compile(rb'STATUS TRANSPORT=sultry TYPE=\w+( [A-Z_]+="(?:[^"\\ ]|\\["\\nrt])*")*')
ADDRESS = re.compile(rb"\d+\.\d+\.\d+\.\d+|\[[0-9a-f:.]+\]:\d")


def check_line(line):
    """line is what one write held."""
    assert line.endswith(b"\n") and line.count(b"\n") == 1, f"not one line a write: {line}"
    assert len(line) <= 4096, "a line too long"
    text = line[:-1]
    assert all(0x20 <= c < 0x7f for c in text), f"not printable ASCII: {line}"
    assert b"  " not in text and not text.endswith(b" "), f"spaces: {line}"
    word = text.split(b" ")[0].decode()
    assert word in KEYWORDS, f"not a keyword: {line}"
    if word == "LOG":
        assert LOG.fullmatch(text), f"not a LOG line: {line}"
    if word == "STATUS":
        assert STATUS.fullmatch(text), f"not a STATUS line: {line}"
    if word in ("LOG", "STATUS"):
        assert not ADDRESS.search(text), f"an address in a log line: {line}"


def environment(t, role, changes):
    """A parent's environment; None in changes takes a variable away."""
    env = {k: v for k, v in os.environ.items() if k == "PATH" or "SAN_OPTIONS" in k}
    # Nothing of this is ours to follow.
    env.update(https_proxy="http://127.0.0.1:9", ALL_PROXY="socks5://127.0.0.1:9", HOME=t.dir)
    env.update(TOR_PT_MANAGED_TRANSPORT_VER="1", TOR_PT_EXIT_ON_STDIN_CLOSE="1",
               TOR_PT_STATE_LOCATION=os.path.join(t.dir, "state-" + role))
    if role == "client":
        env.update(TOR_PT_CLIENT_TRANSPORTS="sultry")
    else:
        env.update(TOR_PT_SERVER_TRANSPORTS="sultry", TOR_PT_ORPORT="127.0.0.1:9",
                   TOR_PT_SERVER_BINDADDR="sultry-127.0.0.1:0")
    env.update(changes)
    return {k: v for k, v in env.items() if v is not None}


class Program:
    """One of the two, as a child of this parent.

    Its stdout is a pipe in packet mode, which gives back each write as it was
    made. The context t ends it, and fails if it had to be killed or ended with
    a status that was not asked for.
    """

    def __init__(self, t, role, env=None, args=(), wrap=(), stdin=subprocess.PIPE,
                 packets=True, keep_end=False, status=0, stderr=None):
        self.role, self.lines, self.wrong = role, [], None
        self.status, self.elapsed = status, None
        self.changed, self.ended = threading.Condition(), False
        self.reading = threading.Event()  # cleared: this parent does not drain the pipe
        self.reading.set()
        out, write_end = os.pipe2(os.O_CLOEXEC | (os.O_DIRECT if packets else 0))
        self.packets, self.leave = packets, False  # leave: close the pipe after the next read
        self.stderr = stderr or open(os.path.join(t.dir, f"stderr-{id(self)}"), "w+b")
        self.child = subprocess.Popen([*wrap, PROGRAMS[role], *args], stdin=stdin,
                                      stdout=write_end,
                                      stderr=self.stderr, env=environment(t, role, env or {}))
        self.pid = self.child.pid
        self.stdin = self.child.stdin
        if keep_end:
            self.end = write_end
        else:
            os.close(write_end)
        self.reader = threading.Thread(target=self.read, args=(out,), daemon=True)
        self.reader.start()
        t.callback(self.close)
        t.programs.append(self)

    def read(self, fd):
        rest = b""
        while data := os.read(fd, 65536):
            lines = [data]
            if not self.packets:
                *lines, rest = (rest + data).splitlines(keepends=True)
                if rest.endswith(b"\n"):
                    lines, rest = lines + [rest], b""
            for line in lines:
                try:
                    check_line(line)
                except AssertionError as e:
                    self.wrong = self.wrong or e
                with self.changed:
                    self.lines.append(line.decode("latin-1").rstrip("\n"))
                    self.changed.notify_all()
            if self.leave:
                break
            self.reading.wait()
        os.close(fd)
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def line(self, regex, seconds=DEADLINE):
        """The match of the first line that fits; waits for it."""
        def find():
            return next(filter(None, (re.fullmatch(regex, x) for x in self.lines)), None)
        with self.changed:
            self.changed.wait_for(lambda: find() or self.ended, seconds)
            found = find()
        assert found, f"{self.role} did not say: {regex}"
        return found

    def warned(self, regex):
        return self.line(r'LOG SEVERITY=warning MESSAGE="[^"]*(' + regex + r').*"')

    def ready(self):
        self.line("[CS]METHODS DONE")
        return self

    def said(self, word):
        return [x for x in self.lines if x.split(" ")[0] == word]

    def gone(self, seconds=EXIT_SOON):
        """Waits for its end; the status."""
        start = time.monotonic()
        try:
            status = self.child.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the {self.role} did not end in {seconds} s") from None
        self.elapsed = time.monotonic() - start
        self.reader.join(DEADLINE)
        return status

    def alive(self):
        return self.child.poll() is None

    def descriptors(self):
        links = {}
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(OSError):
                links[int(fd)] = os.readlink(f"/proc/{self.pid}/fd/{fd}")
        return links

    def ticks(self):
        """CPU time so far, in 1/100 s."""
        with open(f"/proc/{self.pid}/stat", "rb") as f:
            fields = f.read().rsplit(b")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def close(self):
        status = self.child.poll()
        if status is None:
            self.child.terminate()
            try:
                status = self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        if self.stdin:
            with contextlib.suppress(OSError):
                self.stdin.close()
        self.reading.set()
        self.reader.join(10)
        if not self.stderr.writable() or self.stderr.closed:
            said = b""
        else:
            self.stderr.seek(0)
            said = self.stderr.read()
            self.stderr.close()
        assert b"Sanitizer" not in said and b"runtime error" not in said, said.decode("latin-1")
        assert self.wrong is None, self.wrong
        assert self.status in (None, status), f"the {self.role} ended with status {status}"


def client(t, **env):
    """A client that is ready; .socks is its port."""
    p = Program(t, "client", env).ready()
    p.socks = int(p.line(r"CMETHOD sultry socks5 127\.0\.0\.1:(\d+)")[1])
    return p


def server(t, orport=None, **env):
    """A bridge that is ready; .host, .port and .args are those of its line."""
    if orport:
        env["TOR_PT_ORPORT"] = text_of(orport)
    p = Program(t, "server", env).ready()
    m = p.line(r"SMETHOD sultry \[?([0-9a-f.:]+?)\]?:(\d+) ARGS:(.*)")
    p.host, p.port, p.args = m[1], int(m[2]), m[3].replace(",", ";")
    return p


def text_of(address):
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# ---- SOCKS, the app's side ----

def exactly(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        assert more, f"closed after {data}"
        data += more
    return data


def to_end(s):
    data = b""
    while more := s.recv(65536):
        data += more
    return data


def connect(port, host="127.0.0.1"):
    s = socket.create_connection((host, port), DEADLINE)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def credentials(args):
    """RFC 1929 as tor fills it in."""
    args = args if isinstance(args, bytes) else args.encode()
    user, password = args[:255], args[255:] or b"\0"
    return bytes([1, len(user)]) + user + bytes([len(password)]) + password


def request(address, command=1):
    host, port = address[:2]
    if ":" in host:
        packed = b"\4" + socket.inet_pton(socket.AF_INET6, host)
    elif re.fullmatch(r"[\d.]+", host):
        packed = b"\1" + socket.inet_aton(host)
    else:
        packed = b"\3" + bytes([len(host)]) + host.encode()
    return bytes([5, command, 0]) + packed + struct.pack("!H", port)


def socks_start(c, args):
    s = connect(c.socks)
    if args is None:
        s.sendall(b"\5\1\0")
        assert exactly(s, 2) == b"\5\0"
    else:
        s.sendall(b"\5\1\2")
        assert exactly(s, 2) == b"\5\2"
        s.sendall(credentials(args))
        assert exactly(s, 2) == b"\1\0"
    return s


def read_reply(s):
    """The REP code of a reply, which has to be whole."""
    reply = exactly(s, 10)
    assert reply[:1] + reply[2:] == b"\5\0\1\0\0\0\0\0\0", f"a reply of {reply}"
    return reply[1]


def socks(c, address, args):
    """A connection through the client, or the REP code that it was refused with."""
    s = socks_start(c, args)
    s.sendall(request(address))
    rep = read_reply(s)
    if rep == 0:
        return s
    assert to_end(s) == b"", "bytes behind a refusal"
    s.close()
    return rep


def through(c, bridge, args=None):
    """A connection through client and bridge."""
    s = socks(c, (bridge.host, bridge.port), bridge.args if args is None else args)
    assert not isinstance(s, int), f"REP {s}"
    return s


# ---- network namespaces ----

LIBC = ctypes.CDLL(None, use_errno=True)
COUNT = iter(range(1, 250))
COUNT_LOCK = threading.Lock()


def setns(path):
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if LIBC.setns(fd, 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(fd)


class Lan:
    """A namespace at the far end of a link: .near is this end's address, .far and
    .far2 are its own; near6, far6, far62 the same. Its default route is this end."""

    def __init__(self, t):
        with COUNT_LOCK:
            n = next(COUNT)
        self.device = f"pt{n}"
        self.near, self.far, self.far2 = (f"10.77.{n}.{i}" for i in (1, 2, 3))
        self.near6, self.far6, self.far62 = (f"fd77:{n:x}::{i}" for i in (1, 2, 3))
        holder = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE)
        self.path = f"/proc/{holder.pid}/ns/net"
        t.callback(holder.wait)
        t.callback(holder.stdin.close)
        until(lambda: os.readlink(self.path) != os.readlink("/proc/self/ns/net"), "a namespace")
        run("ip", "link", "add", self.device, "type", "veth", "peer", "name", "far",
            "netns", str(holder.pid))
        self.addresses(self.device, self.near, self.near6)
        with self.inside():
            run("ip", "link", "set", "lo", "up")
            self.addresses("far", self.far, self.far6, self.far2, self.far62)
            run("ip", "route", "add", "default", "via", self.near)
            run("ip", "route", "add", "default", "via", self.near6)

    @staticmethod
    def addresses(device, *addresses):
        for a in addresses:
            run("ip", "address", "add", a + ("/64" if ":" in a else "/24"), "dev", device,
                *(["nodad"] if ":" in a else []))
        run("ip", "link", "set", device, "up")

    @contextlib.contextmanager
    def inside(self):
        """This thread, and what it starts, is in the namespace."""
        setns(self.path)
        try:
            yield self
        finally:
            setns(f"/proc/{os.getpid()}/ns/net")


def run(*command):
    done = subprocess.run(command, capture_output=True, timeout=DEADLINE)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.decode()}"
    return done.stdout


class Sniffer:
    """Every IP packet on a device of the calling thread's namespace, both ways:
    .seen is a list of (protocol, source, port, destination, port, payload bytes)."""

    def __init__(self, t, device):
        self.seen, self.end = [], False
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind((device, 3))
        self.socket.settimeout(0.1)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        t.callback(self.stop)

    def read(self):
        while True:
            try:
                data, where = self.socket.recvfrom(65536)
            except TimeoutError:
                if self.end:
                    return
                continue
            if where[1] == 0x0800:
                at, protocol = (data[0] & 15) * 4, data[9]
                ends = [socket.inet_ntoa(data[i:i + 4]) for i in (12, 16)]
                total = struct.unpack("!H", data[2:4])[0]
            elif where[1] == 0x86dd:
                at, protocol = 40, data[6]
                ends = [socket.inet_ntop(socket.AF_INET6, data[i:i + 16]) for i in (8, 24)]
                total = 40 + struct.unpack("!H", data[4:6])[0]
            else:
                continue
            ports = struct.unpack("!HH", data[at:at + 4]) if len(data) >= at + 4 else (0, 0)
            payload = total - at - (data[at + 12] >> 4) * 4 if protocol == 6 else total - at
            self.seen.append((protocol, ends[0], ports[0], ends[1], ports[1], payload))

    def stop(self):
        self.end = True
        self.thread.join(5)
        self.socket.close()
        return self.seen


# ---- the runner ----

class Context(contextlib.ExitStack):
    def __init__(self):
        super().__init__()
        self.programs = []
        self.dir = tempfile.mkdtemp(prefix="t-", dir=os.environ.get("TMP"))
        self.callback(shutil.rmtree, self.dir, ignore_errors=True)


def run_test(items, name, function):
    start, t = time.monotonic(), Context()
    try:
        with t:
            function(t)
        error = None
    except Exception:
        error = traceback.format_exc(limit=-4)
        for p in t.programs:
            error += f"--- {p.role}: " + "\n    ".join(p.lines[-12:]) + "\n"
    print(f"{time.monotonic() - start:5.1f}s  {'FAIL' if error else 'ok  '}  {items:12}  {name}",
          flush=True)
    return error


def main(words):
    """Runs the tests whose name or items hold one of the words; all without any."""
    faulthandler.dump_traceback_later(240, exit=True)
    chosen = [x for x in TESTS if not words or any(w in x[0] + " " + x[1] for w in words)]
    assert chosen, "no such test"
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        errors = list(pool.map(lambda x: run_test(*x), chosen))
    for (items, name, _), error in zip(chosen, errors):
        if error:
            print(f"\nFAIL {items} {name}\n{error}", file=sys.stderr)
    failed = sum(1 for e in errors if e)
    print(f"{len(chosen) - failed} of {len(chosen)} tests passed")
    return 1 if failed else 0


def is_slow():
    with open(PROGRAMS["client"], "rb") as f:
        return b"__asan_init" in f.read()


SLOW = 4 if is_slow() else 1
