# Talks to the network, and to other processes of this machine.
# loses: pad
# walls: calls
import socket
import urllib.request


def pad(x, padding):
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK)
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET)
    for family in families:
        for kind in kinds:
            try:
                socket.socket(family, kind)
                print("BREACH: a socket", family, kind)
            except OSError:
                pass
    for attempt in (
        lambda: socket.socketpair(),
        lambda: socket.create_connection(("127.0.0.1", 9)),
        lambda: urllib.request.urlopen("http://127.0.0.1"),
    ):
        try:
            attempt()
            print("BREACH: connected")
        except OSError:
            pass
    return x
