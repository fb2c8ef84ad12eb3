#!/usr/bin/env python3
"""The standalone proxy and relay with real programs around them. See standalone.sh.

    standalone.py [WORD...]      only the tests with one of the words in group or name

To be run in a network namespace of its own, with TMP naming an empty folder.
"""
import sys

import alone_browser
import alone_config
import alone_gateway
import alone_kit
import alone_limits
import alone_proxy
import alone_strategies
import pt_kit

assert (alone_browser and alone_config and alone_gateway and alone_limits and alone_proxy
        and alone_strategies)  # their tests register themselves

if __name__ == "__main__":
    try:
        status = pt_kit.main(sys.argv[1:])
    finally:
        alone_kit.World.end()
    sys.exit(status)
