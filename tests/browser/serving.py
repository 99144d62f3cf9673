"""`python -m tests.browser.serving Made`: the demo of one of the dials, or of a run, on a free port of this machine.

A process of its own, as where people start it; it prints the address, and a line for each try to reach another machine.
"""

import contextlib
import socket
import sys

from tests.browser import dials

connect, look_up = socket.socket.connect, socket.getaddrinfo


def only_here(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        print(f"reached out to {address}", flush=True)
        raise OSError("the tests have no network")
    return connect(self, address)


def names(host, *args, **kwargs):
    if host not in ("127.0.0.1", "::1", "localhost", None):
        print(f"asked for {host}", flush=True)
        raise OSError("the tests have no network")
    return look_up(host, *args, **kwargs)


if __name__ == "__main__":
    socket.socket.connect, socket.getaddrinfo = only_here, names
    import demo

    if sys.argv[1] in ("Made", "Writing"):
        dial = getattr(dials, sys.argv[1])()
        with demo.listen("127.0.0.1", 0) as listener:
            app = demo.application(demo.page(demo.Watch(dial)), "127.0.0.1")
            print(f"open http://127.0.0.1:{listener.getsockname()[1]} in a browser", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                demo.serve(app, listener)
    else:
        demo.main(demo.DemoConfig(run=sys.argv[1], port=0))
