#!/usr/bin/env python3
"""Both programs under a PT parent, item by item of PT-CHECKLIST. See pt.sh.

    pt_parent.py [WORD...]      only the tests with one of the words in items or name

To be run in a network namespace of its own (unshare -n).
"""
import sys

import pt_kit
import pt_socks  # those that wait for something come first
import pt_traffic
import pt_start

assert pt_socks and pt_traffic and pt_start  # their tests register themselves

if __name__ == "__main__":
    sys.exit(pt_kit.main(sys.argv[1:]))
