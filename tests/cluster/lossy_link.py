#!/usr/bin/env python3
"""A link between two network namespaces that loses frames: a TAP device in each, and this process between them.

For kernels without netem. Prints a line once both devices are there; ends with SIGTERM.

usage: lossy_link.py NAMESPACE DEVICE NAMESPACE DEVICE LOSS SEED    (loss: 0.3 loses three of ten, each way)
"""
import ctypes
import fcntl
import os
import random
import select
import struct
import sys

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_CLONE_NEWNET = 0x40000000


def open_tap(namespace, device):
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(there, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"cannot enter namespace {namespace}")
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH", device.encode(), _IFF_TAP | _IFF_NO_PI))
    libc.setns(own, _CLONE_NEWNET)
    return tap


def main():
    one = open_tap(sys.argv[1], sys.argv[2])
    other = open_tap(sys.argv[3], sys.argv[4])
    loss, dice = float(sys.argv[5]), random.Random(int(sys.argv[6]))
    print("ready", flush=True)
    towards = {one: other, other: one}
    while True:
        for tap in select.select([one, other], [], [])[0]:
            try:
                frame = os.read(tap, 65536)
                if dice.random() >= loss:
                    os.write(towards[tap], frame)
            except OSError:
                pass  # a device that is down, or full: the frame is lost, which is what this is for


main()
