"""What the checks of the source share: C files with their comments and strings taken out, line by line."""
import os
import re

TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def files(root, folders=("src",)):
    """Paths of all C files below the folders, relative to the root, sorted."""
    found = []
    for folder in folders:
        for where, _, names in os.walk(os.path.join(root, folder)):
            found += [os.path.relpath(os.path.join(where, n), root) for n in names if n.endswith((".c", ".h"))]
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        return f.read()


def bare(text):
    """The text without comments and the insides of strings; every line keeps its number."""

    def blank(match):
        token = match.group()
        edge = token[0] if token[0] in "\"'" else ""
        return edge + "\n" * token.count("\n") + edge

    return TOKEN.sub(blank, text)


def plant(folder, tree):
    """Writes {path: text}, for a check that tests itself."""
    for path, text in tree.items():
        os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
        with open(os.path.join(folder, path), "w", encoding="utf-8") as f:
            f.write(text)
