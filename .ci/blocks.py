"""Runs the code blocks of Markdown files, in order: ``python .ci/blocks.py README.md docs/export.md``.

Blocks of the languages bash and python are run in the current folder, so what one writes the next one can read. Left
out are those under ``<!-- not run: REASON -->`` and those under ``<!-- ci: NAME -->``, which ``.ci/run`` runs by name:
``python .ci/blocks.py --name demo README.md`` does so, ``--print demo`` prints the code instead.
"""

import re
import subprocess
import sys
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
    for path in arguments[2:] if option else arguments:
        for mark, text, language, code in blocks(path):
            wanted = (mark, text) == ("ci", name) if name else mark is None
            if wanted and language in COMMANDS:
                print(f"+ {path}:\n{code}", flush=True)
                subprocess.run([*COMMANDS[language], code], check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main(sys.argv[1:])
