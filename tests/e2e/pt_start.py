"""From the environment to the methods, and the end: PT-CHECKLIST items 1 to 37, 55 to 63,
and 71 to 80."""
import os
import platform
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

from pt_kit import (DEADLINE, Lan, Program, client, connect, exactly, server, socks, test, text_of,
                    through, until)
from pt_peers import Listener, echo, hop

NO_VERSION = "ENV-ERROR no TOR_PT_MANAGED_TRANSPORT_VER environment variable"


def fatal(t, role, line, status, args=(), **env):
    """It says that line, after VERSION 1 for a proxy, and ends with its stdin open."""
    p = Program(t, role, env, args, status=status)
    p.gone(DEADLINE)
    said = p.lines
    if line.startswith("PROXY-ERROR"):
        assert said[:1] == ["VERSION 1"], said
        said = said[1:]
    assert len(said) == 1 and re.fullmatch(line, said[0]), f"{env}: {p.lines}"
    return said[0]


def ends(p, how, status=0):
    how()
    assert p.gone() == status, f"status {p.child.returncode}"


# ---- process ----

@test("1", "extra words are ignored")
def extra_words(t):
    for role in ("client", "server"):
        Program(t, role, args=["managed", "obfs4", ""]).ready()


@test("2 14 20", "an unknown flag is an ENV-ERROR; VERSION-ERROR outranks it")
def unknown_flag(t):
    for role in ("client", "server"):
        for flag in ("-x", "--log-min-severity=debug"):
            fatal(t, role, "ENV-ERROR .*" + flag + ".*", 64, args=["managed", flag])
            fatal(t, role, "VERSION-ERROR no-version", 78, args=[flag],
                  TOR_PT_MANAGED_TRANSPORT_VER="2")


@test("3", "closed standard descriptors")
def closed_descriptors(t):
    for role in ("client", "server"):
        shut = ["sh", "-c", 'exec "$@" <&- 2>&-', "sh"]
        p = Program(t, role, {"TOR_PT_EXIT_ON_STDIN_CLOSE": None}, wrap=shut).ready()
        fds = p.descriptors()
        assert fds[0] == fds[2] == "/dev/null", fds
        assert fds[1].startswith("pipe:"), fds
        shut = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
        p = Program(t, role, {"TOR_PT_EXIT_ON_STDIN_CLOSE": None}, wrap=shut)
        until(lambda: any("eventpoll" in x for x in p.descriptors().values()), "the event loop")
        fds = p.descriptors()
        assert [fds[i] for i in range(3)] == ["/dev/null"] * 3, fds


@test("4 76", "blocked and ignored signals, SIGHUP, SIGPIPE")
def signals(t):
    for role in ("client", "server"):
        for how in ("block", "ignore"):
            for number in (signal.SIGTERM, signal.SIGINT):
                p = Program(t, role, wrap=["env", f"--{how}-signal=TERM", f"--{how}-signal=INT"])
                p.ready()
                os.kill(p.pid, signal.SIGHUP)
                os.kill(p.pid, signal.SIGPIPE)
                time.sleep(0.2)
                assert p.alive(), "SIGHUP or SIGPIPE ended it"
                ends(p, lambda: os.kill(p.pid, number))


@test("7 8", "stdout full and not read, then read again; stderr full")
def full_stdout(t):
    bridge = server(t, Listener(t, echo).address)
    full, stderr = os.pipe()
    fill(stderr)
    for packets in (True, False):
        c = Program(t, "client", packets=packets, keep_end=True,
                    stderr=os.fdopen(os.dup(stderr), "rb")).ready()
        c.socks = int(c.line(r"CMETHOD sultry socks5 .*:(\d+)")[1])
        c.reading.clear()
        # Twice: the reader may have been in the middle of a read.
        for _ in range(2):
            fill(c.end)
            refusals(c, 1)
        os.close(c.end)
        refusals(c, 40)
        s = through(c, bridge)
        s.sendall(b"after all")
        assert s.recv(9) == b"after all"
        before = len(c.lines)
        c.reading.set()
        until(lambda: len(c.lines) > before, "lines that waited")
        refusals(c, 1)
        c.warned("key")
        ends(c, c.child.terminate)
    os.close(full)
    os.close(stderr)


@test("7", "stdout whose reader is gone")
def no_reader(t):
    bridge = server(t, Listener(t, echo).address)
    c = client(t)
    c.leave = True
    refusals(c, 1)
    c.reader.join(DEADLINE)
    refusals(c, 3)
    s = through(c, bridge)
    s.sendall(b"x")
    assert s.recv(1) == b"x"


def refusals(c, n):
    """Has the client write n LOG lines."""
    for _ in range(n):
        assert socks(c, ("127.0.0.1", 1), "key=short") == 1


def fill(pipe):
    line = b'LOG SEVERITY=info MESSAGE="the parent fills its own pipe"\n'
    while select.select([], [pipe], [], 0)[1]:
        os.write(pipe, line)


# ---- environment ----

@test("10 11 12 13 20", "versions")
def versions(t):
    for role in ("client", "server"):
        for good in ("1", "2,1", "1,1a,x", "1,1", ",1,"):
            p = Program(t, role, {"TOR_PT_MANAGED_TRANSPORT_VER": good}).ready()
            assert p.lines[0] == "VERSION 1" and len(p.said("VERSION")) == 1, p.lines
        for bad in ("11", "1a", " 1", "1 ", "2", "2,3", ","):
            fatal(t, role, "VERSION-ERROR no-version", 78, TOR_PT_MANAGED_TRANSPORT_VER=bad)
        for unset in (None, ""):
            fatal(t, role, NO_VERSION, 64, TOR_PT_MANAGED_TRANSPORT_VER=unset)


@test("14 15", "both modes, neither, the other program's; VERSION-ERROR outranks")
def modes(t):
    both = {"TOR_PT_CLIENT_TRANSPORTS": "sultry", "TOR_PT_SERVER_TRANSPORTS": "sultry"}
    for role in ("client", "server"):
        other = {"client": "SERVER", "server": "CLIENT"}[role]
        mine = f"TOR_PT_{role.upper()}_TRANSPORTS"
        fatal(t, role, "ENV-ERROR both .*", 64, **both)
        for unset in (None, ""):
            fatal(t, role, "ENV-ERROR neither .*", 64, **{mine: unset})
        fatal(t, role, "ENV-ERROR .*", 64, **{mine: None, f"TOR_PT_{other}_TRANSPORTS": "sultry"})
        fatal(t, role, "VERSION-ERROR no-version", 78, TOR_PT_MANAGED_TRANSPORT_VER="3", **both)


@test("14", "a client does not look at a server's variables, and the reverse")
def other_role(t):
    Program(t, "client", {"TOR_PT_SERVER_BINDADDR": "nonsense", "TOR_PT_ORPORT": "x",
                          "TOR_PT_EXTENDED_SERVER_PORT": "x", "TOR_PT_SERVER_TRANSPORTS": "",
                          "TOR_PT_SERVER_TRANSPORT_OPTIONS": "x"}).ready()
    p = Program(t, "server", {"TOR_PT_PROXY": "gopher://x", "TOR_PT_CLIENT_TRANSPORTS": ""}).ready()
    assert not p.said("PROXY") and not p.said("PROXY-ERROR"), p.lines


@test("16 17", "the state folder")
def state(t):
    deep = os.path.join(t.dir, "a/b/c")
    before = set(os.listdir(t.dir))
    p = server(t, TOR_PT_STATE_LOCATION=deep)
    for folder in ("a", "a/b", "a/b/c"):
        assert stat.S_IMODE(os.stat(os.path.join(t.dir, folder)).st_mode) == 0o700, folder
    files = os.listdir(deep)
    for name in files:
        mode = stat.S_IMODE(os.stat(os.path.join(deep, name)).st_mode)
        assert mode == 0o600, f"{name} has {mode:o}"
        assert not re.search(r"new|tmp", name), f"{name} was left"
    assert "sultry_bridgeline.txt" in files, files
    left = {x for x in os.listdir(t.dir) if not x.startswith("stderr")} - before
    assert left == {"a"}, f"files outside of the state folder: {left}"
    again = server(t, TOR_PT_STATE_LOCATION=deep)
    assert again.args == p.args, "another key after a restart"
    fatal(t, "server", "ENV-ERROR no TOR_PT_STATE_LOCATION .*", 64, TOR_PT_STATE_LOCATION=None)
    fatal(t, "server", "ENV-ERROR no TOR_PT_STATE_LOCATION .*", 64, TOR_PT_STATE_LOCATION="")
    for bad in ("/dev/null/x", "/proc/none"):
        p = Program(t, "server", {"TOR_PT_STATE_LOCATION": bad}).ready()
        assert bad in p.line("SMETHOD-ERROR sultry (.*)")[1], p.lines
        assert not p.said("SMETHOD"), p.lines
        Program(t, "client", {"TOR_PT_STATE_LOCATION": bad}).ready().line("CMETHOD .*")
    Program(t, "client", {"TOR_PT_STATE_LOCATION": None}).ready().line("CMETHOD .*")


@test("17", "processes that start at once on one folder")
def one_folder(t):
    for i in range(4):
        env = {"TOR_PT_STATE_LOCATION": os.path.join(t.dir, f"shared{i}")}
        both = [Program(t, "server", env) for _ in range(3)]
        lines = [p.ready().line(r"SMETHOD sultry \S+ (\S+)")[1] for p in both]
        assert len(set(lines)) == 1, f"different keys: {lines}"
    env = {"TOR_PT_STATE_LOCATION": os.path.join(t.dir, "clients")}
    for p in [Program(t, "client", env) for _ in range(3)]:
        p.ready().line("CMETHOD .*")


@test("18 77", "the end of stdin")
def stdin(t):
    for role in ("client", "server"):
        p = Program(t, role).ready()
        p.stdin.write(b"what a parent writes there means nothing\n")
        p.stdin.flush()
        time.sleep(0.2)
        assert p.alive(), "ended by bytes on stdin"
        ends(p, p.stdin.close)
        for value in (None, "", "0", "true", "11", " 1"):
            p = Program(t, role, {"TOR_PT_EXIT_ON_STDIN_CLOSE": value}).ready()
            p.stdin.close()
            before = p.ticks()
            time.sleep(0.4)
            assert p.alive(), f"ended by the end of stdin with the flag {value!r}"
            assert p.ticks() - before <= 10, "it spins"
        # Always at its end, and epoll does not take it.
        p = Program(t, role, stdin=subprocess.DEVNULL)
        assert p.gone(DEADLINE) == 0
        p = Program(t, role, {"TOR_PT_EXIT_ON_STDIN_CLOSE": "0"}, stdin=subprocess.DEVNULL).ready()
        assert p.alive()


@test("19", "bad source addresses")
def bad_sources(t):
    for role in ("client", "server"):
        for v, bad in (("4", "::1"), ("4", "1.2.3"), ("4", "1.2.3.4:5"), ("4", "localhost"),
                       ("6", "1.2.3.4"), ("6", "[::1"), ("6", "[::1]:5"), ("6", "[x]")):
            name = "TOR_PT_OUTBOUND_BIND_ADDRESS_V" + v
            fatal(t, role, f"ENV-ERROR .*{name}.*", 64, **{name: bad})
        Program(t, role, {"TOR_PT_OUTBOUND_BIND_ADDRESS_V4": "127.0.0.2",
                          "TOR_PT_OUTBOUND_BIND_ADDRESS_V6": "[::1]"}).ready()


@test("21", "after a fatal line it waits: SIGTERM or the end of stdin end it")
def after_fatal(t):
    for role in ("client", "server"):
        for how in ("term", "stdin"):
            p = Program(t, role, {"TOR_PT_MANAGED_TRANSPORT_VER": "2"}, status=None)
            p.line("VERSION-ERROR no-version")
            p.child.terminate() if how == "term" else p.stdin.close()
            assert p.gone() in ((78, 0) if how == "term" else (78,))
        assert any(lingers(t, role) for _ in range(5)), f"the {role} does not wait"


def lingers(t, role):
    """Whether it is there 100 ms after the line; on a busy machine we may look too late."""
    p = Program(t, role, {"TOR_PT_MANAGED_TRANSPORT_VER": "2"}, status=78)
    p.line("VERSION-ERROR no-version")
    time.sleep(0.1)
    alive = p.alive()
    p.gone(DEADLINE)
    return alive


# ---- client ----

@test("22 23 24 25 27 29", "names of transports")
def names(t):
    idle = []
    for role, m, env in (("client", "CMETHOD", {}), ("server", "SMETHOD", {})):
        variable = f"TOR_PT_{role.upper()}_TRANSPORTS"
        for value, n in (("sultry", 1), ("obfs4,sultry", 1), ("sultry,sultry,,", 1), ("*", 0),
                         ("obfs4,,meek", 0), ("Sultry", 0), ("sultry2,sultr", 0)):
            p = Program(t, role, {variable: value, **env}).ready()
            assert len(p.said(m)) == n, p.lines
            assert p.lines[-1] == m + "S DONE" and len(p.said(m + "S")) == 1, p.lines
            assert not any(x in line for line in p.lines for x in ("obfs4", "meek")), p.lines
            assert p.alive(), "it did not stay"
            if n == 0:
                idle.append(p)
    time.sleep(1.5)
    for p in idle:
        assert p.alive(), "it did not stay"
        ends(p, lambda: os.kill(p.pid, signal.SIGINT))


@test("25 26 27", "the client listens on loopback when it says so")
def cmethod(t):
    c = client(t)
    connect(c.socks).close()
    try:
        connect(c.socks, "::1").close()
        raise AssertionError("it listens on ::1 too")
    except ConnectionRefusedError:
        pass
    # Fewer and fewer descriptors, until none is left for a listener.
    for n in range(14, 3, -1):
        p = Program(t, "client", wrap=["prlimit", f"--nofile={n}:{n}"]).ready()
        if p.said("CMETHOD-ERROR"):
            break
    p.line(r"CMETHOD-ERROR sultry .*Too many open files")
    assert p.alive() and not p.said("CMETHOD")


# ---- proxy ----

@test("30 32 33 34 35 36", "TOR_PT_PROXY")
def proxy_uri(t):
    for good in ("socks5://127.0.0.1:1080", "socks5://u:p@127.0.0.1:1080", "socks4a://1.2.3.4:1/",
                 "socks4://u@1.2.3.4:1", "http://u:p@h@1.2.3.4:3128", "http://[::1]:3128/",
                 "http://%41:p%@1.2.3.4:1", "SOCKS5://u:@1.2.3.4:1",
                 "socks5://a%3ab:c:d@1.2.3.4:1"):
        p = Program(t, "client", {"TOR_PT_PROXY": good}).ready()
        assert p.lines.index("PROXY DONE") == 1 and len(p.said("PROXY")) == 1, p.lines
        assert p.lines[0] == "VERSION 1" and p.said("CMETHOD"), p.lines
    assert not client(t).said("PROXY") and not client(t, TOR_PT_PROXY="").said("PROXY")
    long = "x" * 256
    for bad in ("nonsense", "ftp://1.2.3.4:1", "socks5://localhost:1", "socks5://1.2.3.4",
                "socks5://1.2.3.4:0", "socks5://1.2.3.4:65536", "socks5://1.2.3.4:1/x",
                "socks5://1.2.3.4:1?x", "socks5://::1:1", "http://", "socks4a://u:p@1.2.3.4:1",
                f"socks5://{long}:p@1.2.3.4:1", f"socks5://u:{long}@1.2.3.4:1",
                "socks5://:p@1.2.3.4:1", "socks5://%00:p@1.2.3.4:1", "socks5://1.2.3.4:1//"):
        said = fatal(t, "client", "PROXY-ERROR .+", 69, TOR_PT_PROXY=bad)
        assert long not in said and "u:p" not in said, "credentials in a line"
    fatal(t, "client", "ENV-ERROR .*", 64, TOR_PT_PROXY="bad", TOR_PT_OUTBOUND_BIND_ADDRESS_V4="x")


# ---- server ----

def reachable(port):
    found = []
    for host in ("127.0.0.1", "::1"):
        try:
            connect(port, host).close()
            found.append(host)
        except ConnectionRefusedError:
            pass
    return found


# A filter that makes socket(AF_INET6) fail as a kernel without IPv6 does (and as
# systemd's RestrictAddressFamilies= does), then runs the rest of its words.
NO_IPV6 = """
import ctypes, os, struct, sys
nr, errno = int(sys.argv[1]), 97
code = [(0x20, 0, 0, 0), (0x15, 0, 3, nr), (0x20, 0, 0, 16), (0x15, 0, 1, 10),
        (6, 0, 0, 0x00050000 | errno), (6, 0, 0, 0x7fff0000)]
filter = b"".join(struct.pack("HBBI", *x) for x in code)
area = ctypes.create_string_buffer(filter, len(filter))
program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(area))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
os.execv(sys.argv[2], sys.argv[2:])
"""


@test("55 56 59", "bind addresses")
def bind_addresses(t):
    with Lan(t).inside():  # where nobody else has the same port of the other family
        check_bind_addresses(t)


def check_bind_addresses(t):
    both, v4, v6 = ["127.0.0.1", "::1"], ["127.0.0.1"], ["::1"]
    for value, reached in ((None, both), ("", both), ("obfs4-1.2.3.4:5", both),
                           ("sultry-0.0.0.0:0", both), ("sultry-[::]:0", both),
                           ("sultry-127.0.0.1:0", v4), ("sultry-[::1]:0", v6),
                           ("sultry-::1:0", v6), ("x-1.2.3.4:5,sultry-127.0.0.1:0", v4)):
        p = server(t, TOR_PT_SERVER_BINDADDR=value)
        assert p.port > 0 and reachable(p.port) == reached, f"{value}: {reachable(p.port)}"
    number = {"x86_64": 41, "aarch64": 198}[platform.machine()]
    for value in (None, "sultry-0.0.0.0:0", "sultry-[::]:0"):
        p = Program(t, "server", {"TOR_PT_SERVER_BINDADDR": value},
                    wrap=[sys.executable, "-c", NO_IPV6, str(number)]).ready()
        port = int(p.line(r"SMETHOD sultry 0\.0\.0\.0:(\d+) .*")[1])
        assert reachable(port) == v4


@test("55 57 63", "bad server variables")
def bad_server(t):
    for name, values in (
            ("SERVER_BINDADDR", ("x", "sultry", "sultry-", "sultry-1.2.3.4", "sultry-host:1",
                                 "sultry-1.2.3.4:65536", "-1.2.3.4:5", "sultry-1.2.3.4:x",
                                 "sultry-127.0.0.1:0,sultry-127.0.0.2:0", "sultry-1.2.3.4:5,")),
            ("SERVER_TRANSPORT_OPTIONS", ("x", "sultry", "sultry:", "sultry:x", "sultry:=x", ":a=b",
                                          "sultry:a=b;", "sultry:a=b\\", ";sultry:a=b", "obfs4:x")),
            ("ORPORT", ("x", "127.0.0.1", "localhost:9001", "127.0.0.1:0")),
            ("EXTENDED_SERVER_PORT", ("x", "127.0.0.1:0"))):
        for value in values:
            fatal(t, "server", f"ENV-ERROR .*{name}.*", 64, **{"TOR_PT_" + name: value})
    fatal(t, "server", "ENV-ERROR .*TOR_PT_AUTH_COOKIE_FILE", 64,
          TOR_PT_EXTENDED_SERVER_PORT="127.0.0.1:9")
    fatal(t, "server", "ENV-ERROR .*TOR_PT_ORPORT.*", 64, TOR_PT_ORPORT=None)


@test("57 58", "options that are refused")
def refused_options(t):
    for options, word in (("sultry:colour=red", "colour"), ("sultry:base=x", "base"),
                          ("sultry:base=/a,b", "base"),
                          ("sultry:fallback=127.0.0.1\\:80", "oob"), ("sultry:oob=x", "oob"),
                          ("sultry:cert=/none;sultry:certkey=/none", "/none"),
                          ("sultry:cert=/none", "cert"),
                          ("sultry:trusted_proxy=x", "trusted_proxy"),
                          ('sultry:"\\\\\x01=x', "option")):
        p = Program(t, "server", {"TOR_PT_SERVER_TRANSPORT_OPTIONS": options}).ready()
        assert word in p.line("SMETHOD-ERROR sultry (.+)")[1], p.lines
        assert not p.said("SMETHOD") and p.lines[-1] == "SMETHODS DONE", p.lines
        assert p.alive()


@test("57 59 60 61 62", "options that are taken, and the SMETHOD line")
def smethod(t):
    p = server(t)
    m = p.line(r"SMETHOD sultry 127\.0\.0\.1:(\d+) ARGS:key=[\w-]{43},pin=[\w-]{43}")
    assert reachable(int(m[1])) == ["127.0.0.1"] and p.lines[-1] == "SMETHODS DONE", p.lines
    options = r"obfs4:iat-mode=1;sultry:url=https\://cdn.example/a\=b=,;sultry:base=/api;x:y\:=\;"
    p = Program(t, "server", {"TOR_PT_SERVER_TRANSPORT_OPTIONS": options}).ready()
    p.line(r"SMETHOD sultry \S+ ARGS:key=[\w-]{43},url=https://cdn\.example/a\\=b\\=\\,,base=/api")


@test("58", "a port that is taken, for long or for a moment; an address of others")
def taken_port(t):
    held = socket.create_server(("127.0.0.1", 0))
    at = "127.0.0.1:%d" % held.getsockname()[1]
    waits = Program(t, "server", {"TOR_PT_SERVER_BINDADDR": "sultry-" + at})
    p = Program(t, "server", {"TOR_PT_SERVER_BINDADDR": "sultry-203.0.113.5:0"}).ready()
    p.line(r"SMETHOD-ERROR sultry .*203\.0\.113\.5:0.*Cannot assign requested address")
    waits.ready().line(rf"SMETHOD-ERROR sultry .*{re.escape(at)}.*Address already in use")
    assert waits.alive()
    # A wildcard is not quietly made a smaller one.
    p = Program(t, "server", {"TOR_PT_SERVER_BINDADDR": "sultry-[::]:" + at.split(":")[1]})
    p.ready().line(r"SMETHOD-ERROR sultry .*Address already in use")
    # Both a public port and oob= are waited for, for two seconds.
    held.close()
    for variable, value in (("BINDADDR", "sultry-"), ("TRANSPORT_OPTIONS", "sultry:oob=")):
        where = at.replace(":", "\\:") if value.endswith("=") else at
        env = {"TOR_PT_SERVER_" + variable: value + where}
        held = taken(at)
        waits = Program(t, "server", env)
        waits.line("STATUS .*")
        threading.Timer(1.5, held.close).start()
        waits.ready().line("SMETHOD sultry .*")
        assert not refuses(int(at.split(":")[1])), variable
        ends(waits, waits.child.terminate)
        with taken(at):
            waits = Program(t, "server", env).ready()
            waits.line(rf"SMETHOD-ERROR sultry .*{re.escape(at)}.*Address already in use")


def taken(at):
    host, port = at.split(":")
    return socket.create_server((host, int(port)))


# ---- LOG and STATUS ----

@test("72 74 75", "the version, and few lines before DONE")
def status_line(t):
    for role, done in (("client", "CMETHODS DONE"), ("server", "SMETHODS DONE")):
        p = Program(t, role).ready()
        first = p.lines[:p.lines.index(done)]
        versions = [x for x in first if x.startswith("STATUS TRANSPORT=sultry TYPE=version ")]
        assert len(versions) == 1 and len(first) < 8, p.lines
        assert re.search(r' IMPLEMENTATION="sultry" VERSION="\d+\.\d+\.\d+"$', versions[0]), first
        shown = subprocess.run([p.child.args[0], "--version"], capture_output=True,
                               timeout=DEADLINE)
        assert shown.stdout.decode().split()[1] in versions[0], shown


# ---- shutdown ----

def refuses(port):
    try:
        connect(port).close()
        return False
    except (ConnectionRefusedError, ConnectionResetError):
        return True


@test("76 77", "SIGTERM and the end of stdin with connections open")
def stop_now(t):
    orport = Listener(t, echo)
    for how in ("term", "stdin"):
        bridge = server(t, orport.address)
        c = client(t)
        s = through(c, bridge)
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        for p in (c, bridge):
            ends(p, p.child.terminate if how == "term" else p.stdin.close)
        try:
            assert s.recv(1) == b""
        except ConnectionResetError:
            pass


@test("78", "SIGINT: at once if idle")
def interrupt_idle(t):
    for p in (client(t), server(t)):
        ends(p, lambda: os.kill(p.pid, signal.SIGINT))


@test("78", "SIGINT: a client drains")
def interrupt_client(t):
    bridge = server(t, Listener(t, echo).address)
    for second in (False, True):
        c = client(t)
        s = through(c, bridge)
        waiting = connect(c.socks)
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        os.kill(c.pid, signal.SIGINT)
        assert waiting.recv(1) == b"", "a handshake goes on"
        until(lambda: refuses(c.socks), "the listener is closed")
        s.sendall(b"y")
        assert s.recv(1) == b"y", "the connection did not survive"
        ends(c, (lambda: os.kill(c.pid, signal.SIGINT)) if second else s.close)


@test("78", "SIGINT: a server drains")
def interrupt_server(t):
    orport = Listener(t, echo)
    for second in (False, True):
        bridge = server(t, orport.address)
        c, path = client(t), hop(t, (bridge.host, bridge.port))
        args = bridge.args + ";redial=0"
        s = socks(c, path.address, args)
        # The session is on its direct connection: it answers at once and again.
        for _ in range(20):
            s.sendall(b"z")
            assert s.recv(1) == b"z"
            time.sleep(0.05)
        os.kill(bridge.pid, signal.SIGINT)
        until(lambda: is_busy(t, bridge, args), "no new session")
        s.sendall(b"y")
        assert s.recv(1) == b"y", "the connection did not survive"
        # All that it runs on breaks: it needs new connections to the port.
        path.cut()
        s.sendall(b"again")
        assert exactly(s, 5) == b"again", "the session cannot come back"
        if second:
            ends(bridge, lambda: os.kill(bridge.pid, signal.SIGINT))
        else:
            s.close()
            assert bridge.gone(5) == 0


def is_busy(t, bridge, args):
    """Whether a cold client is told that the bridge takes no new sessions."""
    c = client(t)
    s = socks(c, (bridge.host, bridge.port), args)
    if s == 1:
        c.warned("the bridge says busy")
    ends(c, c.child.terminate)
    assert s == 1 or not isinstance(s, int), f"REP {s}"
    return s == 1


@test("78", "SIGINT: a server that drains takes no new session by its oob= either")
def interrupt_oob(t):
    with socket.create_server(("127.0.0.1", 0)) as free:
        at = "127.0.0.1:%d" % free.getsockname()[1]
    orport = Listener(t, echo)
    bridge = server(t, orport.address, TOR_PT_SERVER_TRANSPORT_OPTIONS="sultry:oob="
                    + at.replace(":", "\\:"))
    c = client(t)
    args = bridge.args + ";url=https://" + at
    s = through(c, bridge, args)
    s.sendall(b"x")
    assert s.recv(1) == b"x"
    os.kill(bridge.pid, signal.SIGINT)
    until(lambda: is_busy(t, bridge, args), "no new session")
    # Nor by a connection that is kept alive, of a client that is warm.
    late = through(c, bridge, args)
    late.sendall(b"late")
    try:
        raise AssertionError(f"heard {late.recv(4)}")
    except ConnectionResetError:
        pass
    s.sendall(b"y")
    assert s.recv(1) == b"y", "the session did not survive"
    s.close()
    assert bridge.gone(5) == 0


@test("79", "an orphan without the stdin flag ends")
def orphan(t):
    for role in ("client", "server"):
        # The shell goes when it is told to, the program stays behind with our pipes.
        p = Program(t, role, {"TOR_PT_EXIT_ON_STDIN_CLOSE": None},
                    wrap=["sh", "-c", '"$@" <&0 & read -r go', "sh"], status=None)
        p.ready()
        p.stdin.write(b"\n")
        p.stdin.flush()
        p.child.wait(DEADLINE)
        # Its end of the pipe closes when it ends.
        p.reader.join(DEADLINE)
        assert p.ended, "the orphan lives"


@test("80 76", "the end comes during start-up")
def early_end(t):
    for role in ("client", "server"):
        for _ in range(6):
            p = Program(t, role)
            p.line("VERSION 1")
            ends(p, p.child.terminate)
    held = socket.create_server(("127.0.0.1", 0))
    taken = {"TOR_PT_SERVER_BINDADDR": "sultry-" + text_of(held.getsockname())}
    for how in (lambda p: p.child.terminate(), lambda p: os.kill(p.pid, signal.SIGINT),
                lambda p: p.stdin.close()):
        p = Program(t, "server", taken)
        p.line("STATUS .*")
        time.sleep(0.3)
        how(p)
        assert p.gone() == 0
        assert not p.said("SMETHOD-ERROR"), "it went on to wait for the port"
