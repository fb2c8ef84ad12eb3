#!/usr/bin/env python3
"""chaos_control.py SOCKET COMMAND...: prints what tor's control port answers, a reply line each,
without the status numbers."""
import socket
import sys


def main():
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(sys.argv[1])
        s.settimeout(20)
        stream = s.makefile("rw", newline="\r\n", encoding="utf-8")
        for command in ["AUTHENTICATE"] + sys.argv[2:]:
            stream.write(command + "\r\n")
            stream.flush()
            data = False
            while True:
                line = stream.readline().rstrip("\r\n")
                if data:
                    data = line != "."
                    if data and command != "AUTHENTICATE":
                        print(line)
                    continue
                if not line.startswith("250"):
                    sys.exit("%s: %s" % (command, line))
                data = line[3:4] == "+"
                if line[3:4] == " ":
                    break


if __name__ == "__main__":
    main()
