"""Serves an exported page to the browsers of this machine.

    deepdeblur export --web
    deepdeblur serve_web exported/web

Prints the address and runs until Ctrl-C. It sends the headers that let the page use threads and keep it from asking
other hosts. Other machines do not reach it; --host 0.0.0.0 lets them, but browsers allow threads only on https and on
localhost. docs/web.md tells how to put the page on a web host.
"""

from collections.abc import Sequence

from absl import flags

from tf_deepdeblur.cli import UsageError

_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; the default is for this machine alone.")
_PORT = flags.DEFINE_integer("port", 8000, "Port to listen on; 0 takes a free one.", lower_bound=0, upper_bound=65535)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    if len(argv) != 2:
        raise UsageError("give the folder of one page, such as exported/web")
    from tf_deepdeblur.export.web_server import make_server

    with make_server(argv[1], _HOST.value, _PORT.value) as server:
        print(f"http://{_HOST.value}:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
