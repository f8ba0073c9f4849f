"""Runs the code blocks of Markdown files, in order: ``python .ci/blocks.py README.md docs/export.md``.

Blocks of the languages bash and python are run in the current folder, so what one writes the next one can read. Left
out are those under ``<!-- not run: REASON -->`` and those under ``<!-- ci: NAME -->``, which ``.ci/run`` runs by name:
``python .ci/blocks.py --name demo README.md`` does so, ``--print demo`` prints the code instead.

Several pages are run two at a time, for most of a command's time is TensorFlow's start, which takes one core; what a
page prints is shown when it is done. So pages must not write the same files.
"""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BLOCK = re.compile(
    r"(?:<!-- (?P<mark>ci|not run): (?P<text>[^>]*?) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
COMMANDS = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": ["python", "-c"]}


def blocks(path):
    """(mark, its text, language, code) of every code block of a file; the mark is "ci", "not run" or None."""
    return [tuple(match.group("mark", "text", "language", "code")) for match in BLOCK.finditer(Path(path).read_text())]


def main(arguments):
    option, name = (arguments[0], arguments[1]) if arguments[0].startswith("--") else (None, None)
    if option == "--print":
        print(*(code for path in arguments[2:] for mark, text, _, code in blocks(path) if (mark, text) == ("ci", name)))
        return
    paths = arguments[2:] if option else arguments
    if len(paths) == 1:
        run(paths[0], name)
        return
    with ThreadPoolExecutor(2) as pool:
        pages = [pool.submit(run, path, name, quiet=True) for path in paths]
        try:
            for page in pages:
                print(page.result(), flush=True)
        except subprocess.CalledProcessError as error:
            pool.shutdown(cancel_futures=True)
            sys.exit(f"{error.output}\nexit code {error.returncode}: {error.cmd[-1]}")


def run(path, name=None, quiet=False):
    """Runs the blocks of a page; returns what they print if that is not to be seen at once.

    Raises:
        subprocess.CalledProcessError: for the first that fails.
    """
    seen = []
    for mark, text, language, code in blocks(path):
        wanted = (mark, text) == ("ci", name) if name else mark is None
        if wanted and language in COMMANDS:
            title = f"+ {path}:\n{code}"
            seen.append(title) if quiet else print(title, flush=True)
            output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} if quiet else {}
            command = [*COMMANDS[language], code]
            seen.append(subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **output).stdout)
    return "\n".join(seen) if quiet else None


if __name__ == "__main__":
    main(sys.argv[1:])
