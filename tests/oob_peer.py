"""The other side of test_oob: an HTTPS server and a proxy of every kind, on loopback.

    oob_peer.py DIR ADDRESS...     DIR: cert.pem and key.pem

Says on stdout what it sees, one event a line; the first line is `ports HTTPS PROXY PLAIN`.
"""
import asyncio
import base64
import ssl
import struct
import sys

BODY_MAX = 256 * 1024
gates = {}  # path -> replies that wait
held = []   # those of /hold
server_port = 0


def say(*words):
    print(*words, flush=True)


def reply(body, status="200 OK", extra=""):
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


class Gone(Exception):
    pass


async def act(path, body, count, writer):
    """What each path does. The bytes to answer; Gone: drop the connection after them."""
    word = path.split("/")[-1]
    if word.startswith("gate"):  # gateN: answer when N requests are there
        wait = asyncio.get_running_loop().create_future()
        gates.setdefault(path, []).append(wait)
        if len(gates[path]) == int(word[4:]):
            for f in gates.pop(path):
                f.set_result(None)
        await wait
    elif word == "hold":
        wait = asyncio.get_running_loop().create_future()
        held.append(wait)
        await wait
    elif word == "release":
        for f in held:
            f.set_result(None)
        held.clear()
    elif word == "never":
        await asyncio.get_running_loop().create_future()
    elif word == "404":
        return reply(b"nope", "404 Not Found")
    elif word == "redirect":
        return reply(b"", "302 Found", "Location: /followed\r\n")
    elif word == "401":
        return reply(b"", "401 Unauthorized", 'WWW-Authenticate: Basic realm="x"\r\n')
    elif word == "cookie":
        return reply(b"", extra="Set-Cookie: a=b\r\n")
    elif word == "empty":
        return reply(b"")
    elif word == "max":
        return reply(b"m" * BODY_MAX)
    elif word == "big":
        return reply(b"b" * (BODY_MAX + 1))
    elif word == "bigchunked":
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return head + (b"4000\r\n" + b"c" * 0x4000 + b"\r\n") * 33 + b"0\r\n\r\n"
    elif word == "bighead":
        return b"HTTP/1.1 200 OK\r\n" + b"X-Long: yes, very\r\n" * 5000 + b"Content-Length: 0\r\n\r\n"
    elif word == "die":
        writer.write(reply(b"d" * 1000)[:-500])
        raise Gone
    elif word == "diehead":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
        raise Gone
    elif word == "dienow":
        raise Gone
    elif word == "garbage":
        writer.write(b"\0\1\2 this is not HTTP\r\n\r\n")
        raise Gone
    elif word == "stale" and count > 1:  # as if the connection had died while it was idle
        raise Gone
    elif word == "close":
        writer.write(reply(body, extra="Connection: close\r\n"))
        raise Gone
    return reply(body)


async def one_request(reader, writer, count):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    fields = {}
    for line in head[1:-2]:
        name, value = line.split(": ", 1)
        fields[name.lower()] = value
    body = await reader.readexactly(int(fields.get("content-length", 0)))
    say("request", method, path, f"host={fields.get('host')}", f"type={fields.get('content-type')}",
        f"len={len(body)}", f"sum={sum(body)}", f"names={','.join(sorted(fields))}",
        f"agent={fields.get('user-agent')}")
    writer.write(await act(path, body, count, writer))
    await writer.drain()


async def https(reader, writer):
    tls = writer.get_extra_info("ssl_object")
    say("tls", f"from={writer.get_extra_info('peername')[0]}", f"sni={getattr(tls, 'sni', None)}",
        f"resumed={int(tls.session_reused)}", f"alpn={tls.selected_alpn_protocol()}")
    count = 0
    try:
        while True:
            count += 1
            await one_request(reader, writer, count)
    except (Gone, OSError, asyncio.IncompleteReadError):
        pass
    say("closed")
    writer.close()


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def z(reader):
    return (await reader.readuntil(b"\0"))[:-1].decode("latin-1")


async def socks5(reader, writer):
    n = (await reader.readexactly(1))[0]
    methods = await reader.readexactly(n)
    user = password = None
    writer.write(b"\5\2" if 2 in methods else b"\5\0")
    if 2 in methods:
        await reader.readexactly(1)
        user = (await reader.readexactly((await reader.readexactly(1))[0])).decode("latin-1")
        password = (await reader.readexactly((await reader.readexactly(1))[0])).decode("latin-1")
        writer.write(b"\1\0" if user != "wrong" else b"\1\1")
        if user == "wrong":
            raise Gone
    atyp = (await reader.readexactly(4))[3]
    if atyp == 3:
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    else:
        host = (await reader.readexactly(4 if atyp == 1 else 16)).hex()
    port = struct.unpack(">H", await reader.readexactly(2))[0]
    say("proxy socks5", f"methods={methods.hex()}", f"atyp={atyp}", host, port, f"user={user}", f"pass={password}")
    writer.write(b"\5" + (b"\5" if host == "refused.example" else b"\0") + b"\0\1" + bytes(6))
    return host


async def socks4(reader, writer):
    _, port, ip = struct.unpack(">BHI", await reader.readexactly(7))
    user = await z(reader)
    kind, host = ("socks4a", await z(reader)) if 0 < ip < 256 else ("socks4", f"{ip:08x}")
    say("proxy", kind, host, port, f"user={user}")
    writer.write((b"\0\x5b" if host == "refused.example" else b"\0\x5a") + bytes(6))
    return host


async def http(reader, writer, first):
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head[1:-2])
    auth = next((h.split(" ")[2] for h in head if h.lower().startswith("proxy-authorization: basic ")), "")
    host = head[0].split(" ")[1].rsplit(":", 1)[0]
    say("proxy http", head[0], f"auth={base64.b64decode(auth).decode('latin-1')}", f"names={','.join(sorted(fields))}")
    if host == "refused.example":
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    elif host == "auth.example":
        writer.write(b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')
        raise Gone
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Proxy: yes\r\n\r\n")
    return host


async def proxy(reader, writer):
    """Records where it is asked to go and goes to the HTTPS server, whatever that was."""
    say("proxied", f"from={writer.get_extra_info('peername')[0]}")
    try:
        first = await reader.readexactly(1)
        if first == b"\5":
            host = await socks5(reader, writer)
        elif first == b"\4":
            host = await socks4(reader, writer)
        else:
            host = await http(reader, writer, first)
        await writer.drain()
        if host == "refused.example":
            raise Gone
        there_reader, there_writer = await asyncio.open_connection(sys.argv[2], server_port)
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))
    except (Gone, OSError, asyncio.IncompleteReadError):
        writer.close()


async def plain(reader, writer):
    """No TLS here."""
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


def note_sni(tls, name, _):
    tls.sni = name


async def main():
    global server_port
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1] + "/cert.pem", sys.argv[1] + "/key.pem")
    context.sni_callback = note_sni
    context.set_alpn_protocols(["http/1.1"])
    ports = []
    for handler, tls in ((https, context), (proxy, None), (plain, None)):
        server = await asyncio.start_server(handler, sys.argv[2], 0, ssl=tls, backlog=1000)
        ports.append(server.sockets[0].getsockname()[1])
        for address in sys.argv[3:]:
            await asyncio.start_server(handler, address, ports[-1], ssl=tls)
    server_port = ports[0]
    say("ports", *ports)
    await asyncio.get_running_loop().create_future()


asyncio.run(main())
