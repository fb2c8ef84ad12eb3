#!/usr/bin/env python3
"""Tests of wire.py and hop.py: each claim is seen to hold and seen to fail."""
import argparse
import base64
import contextlib
import io
import json
import os
import random
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

import wire

HERE = os.path.dirname(os.path.abspath(__file__))
RANDOM = random.Random(1)


def record(length, kind=0x17):
    return bytes([kind, 3, 3]) + length.to_bytes(2, "big") + RANDOM.randbytes(length)


def connection(up, down, reset=False):
    events = [(0.0, b"u", up), (0.0, b"d", down)] + ([(0.0, b"R", b"")] if reset else [])
    return wire.Connection("0001.rec", events)


def client_hello(name):
    """A ClientHello as OpenSSL makes it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def sealed(count, lengths=range(30, 9000)):
    return b"".join(record(RANDOM.choice(lengths)) for _ in range(count))


def cells(count, extra):
    return b"".join(record(514 * RANDOM.randint(1, 7) + extra) for _ in range(count))


HELLO = client_hello("www.abcdefgh.com")
OOB = connection(b"\x16\x03\x01" + bytes(200), b"\x16\x03\x03" + bytes(900))


def judge(run, conns, **options):
    args = argparse.Namespace(absent=["192.0.2.10"], least_down=0)
    vars(args).update(options)
    with contextlib.redirect_stdout(io.StringIO()):
        return run(conns, args)


class Direct(unittest.TestCase):
    def good(self):
        return record(900) + sealed(300), record(700) + sealed(300) + record(16401) * 50

    def wrong(self, up, down, **options):
        return judge(wire.run_direct, [OOB, connection(up, down)], **options)

    def test_good(self):
        self.assertEqual(self.wrong(*self.good()), [])

    def test_each_violation_is_found(self):
        up, down = self.good()
        hidden = record(40) + b"\x17\x03\x03\x04\x00"
        for what, bad_up, bad_down in (
            ("begins 16", up, record(60, 0x16) + down),
            ("begins 15", up + record(2, 0x15), down),
            ("has 16402 bytes", up + record(16402), down),
            ("has 0 bytes", up + record(0), down),
            ("no whole record", up, down + b"\x17\x03\x03\x00\x09"),
            ("no whole record", up[:-1], down),
            ("down: no record", up, b""),
            ("first record has 1201", record(1201) + up, down),
            ("shows a ClientHello", up + hidden + HELLO.ljust(1024), down),
            ("Tor's server name", up + hidden + HELLO.ljust(1024), down),
            ("the text '192.0.2.10'", up + hidden + b"192.0.2.10".ljust(1024), down),
            ("begins 47", b"GET / HTTP/1.1\r\n\r\n", b""),
            ("begins with the bridge", b"", b"SSH-2.0\r\n"),
        ):
            self.assertIn(what, " ".join(self.wrong(bad_up, bad_down)))

    def test_a_certificate_is_found(self):
        with tempfile.TemporaryDirectory() as folder:
            cert, _ = make_certificate(folder)
            with open(cert, encoding="ascii") as f:
                der = ssl.PEM_cert_to_DER_cert(f.read())
        up, down = self.good()
        body = der.ljust(2000)
        down += b"\x17\x03\x03" + len(body).to_bytes(2, "big") + body
        self.assertIn("shows a certificate", " ".join(self.wrong(up, down)))

    def test_a_reset_may_cut_a_record(self):
        up, down = self.good()
        self.assertEqual(judge(wire.run_direct, [OOB, connection(up, down[:-1], True)]), [])

    def test_nothing_to_see_is_wrong(self):
        self.assertIn("no oob connection", judge(wire.run_direct, [connection(*self.good())]))
        self.assertIn("bytes came down", " ".join(judge(wire.run_direct, [OOB])))
        self.assertIn("bytes came down", " ".join(self.wrong(*self.good(), least_down=1 << 30)))


class Lengths(unittest.TestCase):
    def test_cells_show_whatever_is_added_to_them(self):
        for extra in (17, 17 + 5, 17 + 5 + 16, 17 + 5 + 16 + 11):
            for count in (20, 300, 3000):
                found = wire.cell_pattern([514 * RANDOM.randint(1, 7) + extra
                                           for _ in range(count)])
                self.assertEqual(found and found[0], extra)

    def test_cells_show_among_others(self):
        lengths = [16401] * 9000 + [35] * 900 + [514 * n + 60 for n in range(1, 10)]
        lengths += RANDOM.sample(range(36, 16401), 100)
        self.assertEqual(wire.cell_pattern(lengths)[0], 60)

    def test_cells_show_among_a_thousand_odd_lengths(self):
        lengths = RANDOM.sample(range(36, 16401), 1000)
        lengths += [514 * n + 60 for n in range(1, 6)] * 9
        self.assertEqual(wire.cell_pattern(lengths)[0], 60)

    def test_split_records_show_in_their_sum(self):
        events = []
        for _ in range(300):
            cell = 514 * RANDOM.randint(1, 7) + 22
            cut = RANDOM.randint(1, cell - 1)
            events.append((0.0, b"u", record(cut + 24) + record(cell - cut + 24)))
        conn = wire.Connection("0001.rec", events)
        self.assertIsNone(wire.cell_pattern(wire.lengths_of([conn], "up")))
        with contextlib.redirect_stdout(io.StringIO()):
            wrong = wire.check_lengths([conn])
        self.assertEqual(len(wrong), 1)
        self.assertIn("of reads are 514n+80", wrong[0])

    def test_no_false_alarm(self):
        for _ in range(300):
            lengths = RANDOM.choices(range(30, 16401), k=RANDOM.choice((3, 30, 300)))
            lengths += [16401] * 900 + [35] * 300
            self.assertIsNone(wire.cell_pattern(lengths))
        self.assertIsNone(wire.cell_pattern(list(range(17, 16402))))
        self.assertIsNone(wire.cell_pattern([]))


class RawTor(unittest.TestCase):
    def test_control(self):
        up, down = HELLO + cells(100, 17), record(90, 0x16) + cells(100, 17)
        self.assertEqual(judge(wire.run_raw_tor, [connection(up, down)]), [])
        self.assertTrue(judge(wire.run_raw_tor, []))
        for bad in (connection(sealed(100), down), connection(HELLO + sealed(100), down),
                    connection(HELLO + cells(100, 18), down)):
            self.assertTrue(judge(wire.run_raw_tor, [bad]))


class Oob(unittest.TestCase):
    @staticmethod
    def post(message, path="/p"):
        body = json.dumps(message).encode()
        return b"POST %s HTTP/1.1\r\nHost: 192.0.2.10\r\nContent-Length: %d\r\n\r\n" % (
            path.encode(), len(body)) + body

    @staticmethod
    def reply(message):
        body = json.dumps(message).encode()
        return (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + body[:5] +
                b"\r\n%x\r\n" % (len(body) - 5) + body[5:] + b"\r\n0\r\n\r\n")

    @staticmethod
    def text(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def good(self):
        box = self.text(RANDOM.randbytes(5000))
        return (self.post({"v": 1, "noise": box}) + self.post({"v": 1, "n": 2, "box": box}),
                self.reply({"noise": box}) + self.reply({"n": 3, "box": box}))

    def test_good(self):
        self.assertEqual(judge(wire.run_oob, [connection(*self.good())]), [])

    def test_each_violation_is_found(self):
        up, down = self.good()
        for what, more in (
            ("decoded string shows a ClientHello", self.post({"box": self.text(HELLO)})),
            ("decoded string shows a ClientHello", self.post({"box": self.text(b"?" + HELLO)})),
            ("decoded string shows the text", self.post({"box": self.text(b"192.0.2.10:443")})),
            ("body shows the text", self.post({"box": "192.0.2.10"})),
            ("path shows", self.post({}, "/192.0.2.10")),
            ("unknown fields: ['target']", self.post({"target": ""})),
        ):
            self.assertIn(what, " ".join(judge(wire.run_oob, [connection(up + more, down)])))

    def test_nothing_to_see_is_wrong(self):
        up, down = self.good()
        self.assertEqual(len(judge(wire.run_oob, [connection(up, b"")])), 2)
        self.assertEqual(len(judge(wire.run_oob, [])), 4)


def make_certificate(folder):
    cert, key = os.path.join(folder, "crt"), os.path.join(folder, "key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=example.net",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


class Hop(unittest.TestCase):
    """A hop between a client and a listener of this test."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.addCleanup(self.listener.close)

    def hop(self, *options):
        process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "hop.py"), "--record", self.folder,
             "--bind", "127.0.0.2", "--upstream",
             "127.0.0.1:%d" % self.listener.getsockname()[1], *options],
            stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.terminate)
        address = process.stdout.readline().split()[1]
        client = socket.create_connection(wire_address(address), 20)
        self.addCleanup(client.close)
        return client

    def recorded(self):
        return wire.load(self.folder)[0]

    def test_half_close_and_both_directions(self):
        client = self.hop()
        server, peer = self.listener.accept()
        server.settimeout(20)
        self.assertEqual(peer[0], "127.0.0.2")
        client.sendall(b"up" * 50000)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(read_all(server), b"up" * 50000)
        server.sendall(b"down" * 50000)
        server.close()
        self.assertEqual(read_all(client), b"down" * 50000)
        self.assertEqual(self.recorded().up, b"up" * 50000)
        self.assertEqual(self.recorded().down, b"down" * 50000)
        self.assertFalse(self.recorded().reset)

    def test_a_reset_stays_a_reset(self):
        client = self.hop()
        server, _ = self.listener.accept()
        client.sendall(b"x")
        self.assertEqual(server.recv(1), b"x")
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        server.close()
        with self.assertRaises(ConnectionResetError):
            client.recv(1)
        self.assertTrue(self.recorded().reset)

    def test_tls_is_ended_and_read(self):
        cert, key = make_certificate(self.folder)
        client = self.hop("--cert", cert, "--key", key)
        inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        inside.load_cert_chain(cert, key)
        outside = ssl.create_default_context(cafile=cert)
        outside.check_hostname = False
        far = []

        def serve():
            with inside.wrap_socket(self.listener.accept()[0], server_side=True) as server:
                far.append(server.recv(5))
                server.sendall(b"answer")

        thread = threading.Thread(target=serve)
        thread.start()
        with outside.wrap_socket(client) as tls:
            tls.sendall(b"query")
            self.assertEqual(read_all(tls), b"answer")
        thread.join(20)
        self.assertEqual(far, [b"query"])
        self.assertEqual((self.recorded().up, self.recorded().down), (b"query", b"answer"))


def wire_address(text):
    host, port = text.split(":")
    return host, int(port)


def read_all(sock):
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    return data


if __name__ == "__main__":
    unittest.main()
