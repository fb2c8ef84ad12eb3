#!/usr/bin/env python3
"""stdin and stdout through a local proxy: alone_nc.py socks5|connect PROXY-PORT HOST PORT."""
import sys
import threading

from pt_kit import connect, exactly, read_reply, request


def start(kind, proxy, host, port):
    s = connect(proxy)
    s.settimeout(None)
    if kind == "socks5":
        s.sendall(b"\5\1\0")
        assert exactly(s, 2) == b"\5\0"
        s.sendall(request((host, port)))
        assert read_reply(s) == 0
        return s
    s.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += exactly(s, 1)
    assert head.startswith(b"HTTP/1.1 200 "), head
    return s


def main():
    s = start(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))

    def up():
        while data := sys.stdin.buffer.read1(65536):
            s.sendall(data)
        s.shutdown(1)
    threading.Thread(target=up, daemon=True).start()
    while data := s.recv(65536):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
